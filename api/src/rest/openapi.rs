//! An OpenAPI 3 document made from the same annotations that route requests.
//!
//! Only the `/api/v1` spelling of each route is described; the other one is the same without that prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::routes::{Route, Routes};

/// Nested messages are offered as query parameters down to this depth.
const QUERY_DEPTH_MAX: usize = 3;

/// The document as JSON text; made once.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| build().to_string());
    &DOCUMENT
}

fn build() -> Value {
    let routes = Routes::annotated();
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes
        .iter()
        .filter(|route| route.template.starts_with("/api/v1/"))
    {
        let operation = operation(route, &mut schemas);
        let verb = route.http_method.as_str().to_lowercase();
        paths
            .entry(route.template.clone())
            .or_default()
            .insert(verb, operation);
    }
    paths.entry("/api/v1/namespaces/{namespace}/workflows/{workflow_id}/result".to_owned()).or_default().insert(
        "get".to_owned(),
        json!({
            "operationId": "GetWorkflowExecutionResult",
            "tags": ["Fermata"],
            "summary": "Waits for the workflow's end, through continue-as-new, and gives its status and result.",
            "parameters": [
                parameter("path", "namespace", json!({"type": "string"})),
                parameter("path", "workflow_id", json!({"type": "string"})),
                parameter("query", "runId", json!({"type": "string"})),
                parameter("query", "wait", json!({"type": "string", "example": "30s"})),
            ],
            "responses": {"200": {"description": "The status, and the result or the failure"}, "default": error_answer(&mut schemas)},
        }),
    );
    let components = schemas.into_components();
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Fermata HTTP API", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"schemas": components},
    })
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let rpc = &route.rpc;
    let mut parameters: Vec<Value> = route
        .variables()
        .map(|name| parameter("path", name, json!({"type": "string"})))
        .collect();
    let mut operation = json!({
        "operationId": rpc.name(),
        "tags": [rpc.parent_service().name()],
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": schemas.reference(&rpc.output())}}},
            "default": error_answer(schemas),
        },
    });
    if let Some(summary) = comment(rpc) {
        operation["description"] = summary.into();
    }
    if route.has_body {
        let schema = schemas.reference(&rpc.input());
        operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    } else {
        let in_path: BTreeSet<_> = route.variables().collect();
        query_parameters(&rpc.input(), "", "", 0, &in_path, schemas, &mut parameters);
    }
    operation["parameters"] = parameters.into();
    operation
}

fn error_answer(schemas: &mut Schemas) -> Value {
    let status = crate::descriptors::pool()
        .get_message_by_name("google.rpc.Status")
        .expect("an embedded message");
    json!({"description": "Refused", "content": {"application/json": {"schema": schemas.reference(&status)}}})
}

fn parameter(place: &str, name: &str, schema: Value) -> Value {
    json!({"in": place, "name": name, "required": place == "path", "schema": schema})
}

fn query_parameters(
    message: &MessageDescriptor,
    proto_prefix: &str,
    json_prefix: &str,
    depth: usize,
    in_path: &BTreeSet<&str>,
    schemas: &mut Schemas,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields() {
        let proto_name = format!("{proto_prefix}{}", field.name());
        let json_name = format!("{json_prefix}{}", field.json_name());
        if in_path.contains(proto_name.as_str()) || field.is_map() {
            continue;
        }
        match field.kind() {
            Kind::Message(inner) if !inner.full_name().starts_with("google.protobuf.") => {
                if !field.is_list() && depth < QUERY_DEPTH_MAX {
                    let (proto, json) = (format!("{proto_name}."), format!("{json_name}."));
                    query_parameters(
                        &inner,
                        &proto,
                        &json,
                        depth + 1,
                        in_path,
                        schemas,
                        parameters,
                    );
                }
            }
            _ => parameters.push(parameter("query", &json_name, schemas.of_field(&field))),
        }
    }
}

/// The comment that stands before the method in its .proto file.
fn comment(rpc: &MethodDescriptor) -> Option<String> {
    let file = rpc.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info
        .location
        .iter()
        .find(|location| location.path == rpc.path())?;
    let text = location
        .leading_comments()
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("\n");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Schemas of all messages and enums that were referred to.
#[derive(Default)]
struct Schemas {
    done: BTreeMap<String, Value>,
    waiting: Vec<MessageDescriptor>,
}

impl Schemas {
    /// The schema of a message: a reference, or the form that ProtoJSON gives it.
    fn reference(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => return json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => return json!({"type": "string", "example": "10s"}),
            "google.protobuf.FieldMask" => return json!({"type": "string"}),
            "google.protobuf.DoubleValue" => return json!({"type": "number"}),
            "google.protobuf.Empty" => return json!({"type": "object"}),
            "google.protobuf.Any" => {
                return json!({"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": true});
            }
            "temporal.api.common.v1.Payload" => {
                return json!({"description": "Any JSON value, or {metadata, data} in base64. With ?noPayloadShorthand always the latter."});
            }
            "temporal.api.common.v1.Payloads" => {
                return json!({"description": "A list of JSON values, or {payloads: [{metadata, data}]}."});
            }
            _ => {}
        }
        let name = short_name(message.full_name());
        if !self.done.contains_key(&name) {
            self.done.insert(name.clone(), Value::Null);
            self.waiting.push(message.clone());
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn of_enum(&mut self, of: &EnumDescriptor) -> Value {
        let name = short_name(of.full_name());
        self.done.entry(name.clone()).or_insert_with(|| {
            let values: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
            json!({"type": "string", "enum": values})
        });
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn of_field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map()
            && let Kind::Message(entry) = field.kind()
        {
            let value = self.of_kind(&entry.map_entry_value_field().kind());
            return json!({"type": "object", "additionalProperties": value});
        }
        let one = self.of_kind(&field.kind());
        if field.is_list() {
            json!({"type": "array", "items": one})
        } else {
            one
        }
    }

    fn of_kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "format": "byte"}),
            Kind::Float | Kind::Double => json!({"type": "number"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 | Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer"})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64"})
            }
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Enum(of) => self.of_enum(of),
            Kind::Message(message) => self.reference(message),
        }
    }

    fn into_components(mut self) -> BTreeMap<String, Value> {
        while let Some(message) = self.waiting.pop() {
            let fields: Vec<_> = message.fields().collect();
            let properties: Map<_, _> = fields
                .iter()
                .map(|field| (field.json_name().to_owned(), self.of_field(field)))
                .collect();
            let schema = json!({"type": "object", "properties": properties});
            self.done.insert(short_name(message.full_name()), schema);
        }
        self.done
    }
}

/// `temporal.api.common.v1.Memo` as `common.v1.Memo`.
fn short_name(full_name: &str) -> String {
    full_name
        .strip_prefix("temporal.api.")
        .unwrap_or(full_name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let text = document();
        let document: Value = serde_json::from_str(text).unwrap();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
        let start =
            &document["paths"]["/api/v1/namespaces/{namespace}/workflows/{workflow_id}"]["post"];
        assert_eq!(start["operationId"], "StartWorkflowExecution");
        assert!(
            start["description"]
                .as_str()
                .unwrap()
                .contains("starts a new workflow")
        );
    }
}
