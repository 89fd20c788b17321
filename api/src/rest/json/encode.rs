//! A message written as JSON: fields in the order of their declaration, defaults left out.

use base64::Engine;
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value};

use super::{payload, scalar};

/// How the JSON looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Indented by two spaces.
    pub pretty: bool,
    /// Payloads as the JSON they hold, where nothing is lost by it.
    pub shorthand: bool,
}

/// The message as JSON text.
pub fn encode(message: &DynamicMessage, style: Style) -> String {
    let mut writer = Writer {
        out: String::with_capacity(512),
        style,
        depth: 0,
    };
    writer.message(message);
    writer.out
}

struct Writer {
    out: String,
    style: Style,
    depth: usize,
}

impl Writer {
    fn message(&mut self, message: &DynamicMessage) {
        let descriptor = message.descriptor();
        if self.style.shorthand {
            match descriptor.full_name() {
                payload::PAYLOAD => {
                    if let Some(value) = payload::short_form(message) {
                        return self.json(&value);
                    }
                }
                payload::PAYLOADS => {
                    if let Some(values) = payload::short_forms(message) {
                        return self.container('[', values.iter(), ']', |writer, value| {
                            writer.json(value)
                        });
                    }
                }
                _ => {}
            }
        }
        match descriptor.full_name() {
            "google.protobuf.Duration" => {
                let (seconds, nanos) = seconds_and_nanos(message);
                self.string(&scalar::write_duration(seconds, nanos));
            }
            "google.protobuf.Timestamp" => {
                let (seconds, nanos) = seconds_and_nanos(message);
                match scalar::write_timestamp(seconds, nanos) {
                    Some(text) => self.string(&text),
                    None => self.out.push_str("null"),
                }
            }
            "google.protobuf.FieldMask" => {
                let paths = message.get_field_by_name("paths");
                let paths = paths
                    .as_deref()
                    .and_then(Value::as_list)
                    .unwrap_or_default();
                let paths = paths
                    .iter()
                    .filter_map(Value::as_str)
                    .map(scalar::camel_case);
                self.string(&paths.collect::<Vec<_>>().join(","));
            }
            "google.protobuf.Any" => self.any(message),
            _ if scalar::is_wrapper(&descriptor) => {
                let field = descriptor
                    .get_field_by_name("value")
                    .expect("each wrapper has the field value");
                self.value(&message.get_field(&field), &field.kind());
            }
            _ => self.fields(message, None),
        }
    }

    /// The set fields, behind `@type` if the message stands in an `Any`.
    fn fields(&mut self, message: &DynamicMessage, url: Option<&str>) {
        let descriptor = message.descriptor();
        // A message is declared in the order of its field numbers for most of Temporal's API, but not always.
        let mut fields: Vec<_> = descriptor
            .fields()
            .filter(|field| message.has_field(field))
            .collect();
        fields.sort_by_key(|field| field.path().last().copied());
        let members = url
            .map(|_| None)
            .into_iter()
            .chain(fields.into_iter().map(Some));
        self.container('{', members, '}', |writer, field| match field {
            None => {
                writer.name("@type");
                writer.string(url.unwrap_or_default());
            }
            Some(field) => {
                writer.name(field.json_name());
                let value = message.get_field(&field);
                match (&*value, field.kind()) {
                    (Value::List(items), kind) => {
                        writer.container('[', items.iter(), ']', |writer, item| {
                            writer.value(item, &kind)
                        });
                    }
                    (Value::Map(entries), Kind::Message(entry)) => {
                        let kind = entry.map_entry_value_field().kind();
                        let mut entries: Vec<_> = entries
                            .iter()
                            .map(|(key, value)| (key_text(key), value))
                            .collect();
                        entries.sort_by(|a, b| a.0.cmp(&b.0));
                        writer.container('{', entries.into_iter(), '}', |writer, (key, value)| {
                            writer.name(&key);
                            writer.value(value, &kind);
                        });
                    }
                    (value, kind) => writer.value(value, &kind),
                }
            }
        });
    }

    fn any(&mut self, any: &DynamicMessage) {
        let url = any.get_field_by_name("type_url");
        let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
        let bytes = any.get_field_by_name("value");
        let bytes = bytes
            .as_deref()
            .and_then(Value::as_bytes)
            .cloned()
            .unwrap_or_default();
        let name = url.rsplit('/').next().unwrap_or_default();
        let descriptor = any.descriptor().parent_pool().get_message_by_name(name);
        match descriptor
            .and_then(|descriptor| DynamicMessage::decode(descriptor, bytes.clone()).ok())
        {
            Some(message) if scalar::is_text_message(&message.descriptor()) => {
                self.container('{', [false, true].into_iter(), '}', |writer, is_value| {
                    if is_value {
                        writer.name("value");
                        writer.message(&message);
                    } else {
                        writer.name("@type");
                        writer.string(url);
                    }
                });
            }
            Some(message) => self.fields(&message, Some(url)),
            // Of a type this server does not know: its bytes are better than nothing.
            None => {
                let members = [
                    ("@type", url.to_owned()),
                    ("value", scalar::BASE64.encode(&bytes)),
                ];
                self.container('{', members.into_iter(), '}', |writer, (name, text)| {
                    writer.name(name);
                    writer.string(&text);
                });
            }
        }
    }

    fn value(&mut self, value: &Value, kind: &Kind) {
        match value {
            Value::Bool(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            Value::I32(number) => self.out.push_str(&number.to_string()),
            Value::U32(number) => self.out.push_str(&number.to_string()),
            // 64-bit integers are strings in ProtoJSON: JavaScript cannot hold them as numbers.
            Value::I64(number) => self.string(&number.to_string()),
            Value::U64(number) => self.string(&number.to_string()),
            Value::F32(number) => self.real(
                f64::from(*number),
                serde_json::Number::from_f64((*number).to_string().parse().unwrap_or_default()),
            ),
            Value::F64(number) => self.real(*number, serde_json::Number::from_f64(*number)),
            Value::String(text) => self.string(text),
            Value::Bytes(bytes) => {
                let text = scalar::BASE64.encode(bytes);
                self.string(&text);
            }
            Value::EnumNumber(number) => {
                let name = kind.as_enum().and_then(|of| of.get_value(*number));
                match name {
                    Some(name) => self.string(name.name()),
                    None => self.out.push_str(&number.to_string()),
                }
            }
            Value::Message(message) => self.message(message),
            Value::List(_) | Value::Map(_) => {
                unreachable!("lists and maps are written by their field")
            }
        }
    }

    fn real(&mut self, number: f64, finite: Option<serde_json::Number>) {
        match finite {
            Some(_) if number.fract() == 0.0 && number.abs() < 1e15 => {
                self.out.push_str(&format!("{number:.0}"))
            }
            Some(finite) => self.out.push_str(&finite.to_string()),
            None if number.is_nan() => self.string("NaN"),
            None => self.string(if number > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            }),
        }
    }

    /// JSON that came out of a payload.
    fn json(&mut self, value: &serde_json::Value) {
        match value {
            serde_json::Value::Array(items) => {
                self.container('[', items.iter(), ']', |writer, item| writer.json(item));
            }
            serde_json::Value::Object(members) => {
                self.container('{', members.iter(), '}', |writer, (name, value)| {
                    writer.name(name);
                    writer.json(value);
                });
            }
            serde_json::Value::String(text) => self.string(text),
            scalar => self.out.push_str(&scalar.to_string()),
        }
    }

    fn container<T>(
        &mut self,
        open: char,
        items: impl Iterator<Item = T>,
        close: char,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.out.push(open);
        self.depth += 1;
        let mut is_empty = true;
        for each in items {
            if !is_empty {
                self.out.push(',');
            }
            is_empty = false;
            self.new_line();
            item(self, each);
        }
        self.depth -= 1;
        if !is_empty {
            self.new_line();
        }
        self.out.push(close);
    }

    fn name(&mut self, name: &str) {
        self.string(name);
        self.out
            .push_str(if self.style.pretty { ": " } else { ":" });
    }

    fn new_line(&mut self) {
        if self.style.pretty {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str("  ");
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out
            .push_str(&serde_json::Value::from(text).to_string());
    }
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message
        .get_field_by_name("seconds")
        .and_then(|value| value.as_i64());
    let nanos = message
        .get_field_by_name("nanos")
        .and_then(|value| value.as_i32());
    (seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(flag) => flag.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

/// The encoded bytes as JSON of their type. `None` if they are not of that type.
#[cfg(test)]
pub(super) fn encode_typed<M: prost::Message + prost::Name>(message: &M, style: Style) -> String {
    let descriptor = crate::descriptors::pool()
        .get_message_by_name(&M::full_name())
        .expect("a known message");
    let dynamic =
        DynamicMessage::decode(descriptor, &message.encode_to_vec()[..]).expect("its own bytes");
    encode(&dynamic, style)
}
