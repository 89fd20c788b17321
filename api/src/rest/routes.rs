//! Which method a path reaches: the `google.api.http` annotations, each with its additional bindings.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;
use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

use crate::descriptors;

/// One way to reach a method over HTTP.
#[derive(Debug, Clone)]
pub struct Route {
    pub http_method: Method,
    /// As annotated: `/api/v1/namespaces/{namespace}`.
    pub template: String,
    pub rpc: MethodDescriptor,
    /// Whether the body is the request message; else the query string fills it.
    pub has_body: bool,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    /// The dotted path of a request field.
    Variable(String),
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found<'a> {
    /// A route and the values of its variables, by dotted field path.
    Route(&'a Route, Vec<(&'a str, String)>),
    /// The path is known, but not by this method.
    OtherMethod,
    Nothing,
}

/// All routes, by number of path segments; among equals, literals stand before variables.
#[derive(Debug)]
pub struct Routes {
    by_length: BTreeMap<usize, Vec<Route>>,
}

impl Routes {
    /// The routes that the API's descriptors declare, and a few of our own for methods without any.
    pub fn annotated() -> Self {
        let extension = descriptors::pool()
            .get_extension_by_name("google.api.http")
            .expect("the services import google/api/annotations.proto");
        let mut by_length: BTreeMap<usize, Vec<Route>> = BTreeMap::new();
        for rpc in descriptors::rest_methods() {
            let options = rpc.options();
            if !options.has_extension(&extension) {
                continue;
            }
            let rule = options.get_extension(&extension);
            let rule = rule.as_message().expect("google.api.http is a message");
            let more = rule.get_field_by_name("additional_bindings");
            let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
            for rule in std::iter::once(rule).chain(more.iter().filter_map(Value::as_message)) {
                let route = route_of(&rpc, rule);
                by_length
                    .entry(route.segments.len())
                    .or_default()
                    .push(route);
            }
        }
        for route in more_routes() {
            by_length
                .entry(route.segments.len())
                .or_default()
                .push(route);
        }
        for routes in by_length.values_mut() {
            routes.sort_by(|a, b| a.segments.cmp(&b.segments));
        }
        Self { by_length }
    }

    /// All routes.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_length.values().flatten()
    }

    /// The route of a method and a path that is still percent-encoded: an escaped slash belongs to its segment.
    pub fn find(&self, http_method: &Method, path: &str) -> Found<'_> {
        let parts: Vec<_> = path
            .trim_start_matches('/')
            .split('/')
            .map(decoded)
            .collect();
        let mut found = Found::Nothing;
        for route in self.by_length.get(&parts.len()).into_iter().flatten() {
            let Some(variables) = route.matched(&parts) else {
                continue;
            };
            if route.http_method == *http_method {
                return Found::Route(route, variables);
            }
            found = Found::OtherMethod;
        }
        found
    }
}

impl Route {
    fn matched(&self, parts: &[String]) -> Option<Vec<(&str, String)>> {
        let mut variables = Vec::new();
        for (segment, part) in self.segments.iter().zip(parts) {
            match segment {
                Segment::Literal(literal) if literal == part => {}
                Segment::Variable(field) if !part.is_empty() => {
                    variables.push((field.as_str(), part.clone()))
                }
                _ => return None,
            }
        }
        Some(variables)
    }

    /// The dotted field paths of the variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Variable(field) => Some(field.as_str()),
        })
    }
}

/// Percent-decoded; what is not UTF-8 then becomes U+FFFD.
pub fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn route_of(rpc: &MethodDescriptor, rule: &DynamicMessage) -> Route {
    let text = |name: &str| {
        let value = rule.get_field_by_name(name);
        value
            .as_deref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (http_method, template) = [
        (Method::GET, "get"),
        (Method::PUT, "put"),
        (Method::POST, "post"),
        (Method::DELETE, "delete"),
        (Method::PATCH, "patch"),
    ]
    .into_iter()
    .map(|(method, name)| (method, text(name)))
    .find(|(_, template)| !template.is_empty())
    .expect("each rule has a pattern");
    route(rpc, http_method, template, !text("body").is_empty())
}

/// Temporal gives deletion no path, and answers DELETE on a workflow's own with 405: so do we.
fn more_routes() -> Vec<Route> {
    let Some(delete) =
        descriptors::rest_methods().find(|rpc| rpc.name() == "DeleteWorkflowExecution")
    else {
        return Vec::new();
    };
    let path = "/namespaces/{namespace}/workflows/{workflow_execution.workflow_id}/delete";
    ["/api/v1", ""]
        .map(|prefix| route(&delete, Method::POST, format!("{prefix}{path}"), true))
        .into()
}

fn route(rpc: &MethodDescriptor, http_method: Method, template: String, has_body: bool) -> Route {
    let segments = template.trim_start_matches('/').split('/').map(|segment| {
        match segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(field) => Segment::Variable(field.to_owned()),
            None => Segment::Literal(segment.to_owned()),
        }
    });
    Route {
        http_method,
        segments: segments.collect(),
        template,
        rpc: rpc.clone(),
        has_body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        match Routes::annotated().find(&method, path) {
            Found::Route(route, variables) => format!("{} {variables:?}", route.rpc.name()),
            Found::OtherMethod => "other method".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn both_spellings_lead_to_the_method() {
        let wanted = r#"DescribeWorkflowExecution [("namespace", "default"), ("execution.workflow_id", "a/b c")]"#;
        assert_eq!(
            found(
                Method::GET,
                "/api/v1/namespaces/default/workflows/a%2Fb%20c"
            ),
            wanted
        );
        assert_eq!(
            found(Method::GET, "/namespaces/default/workflows/a%2Fb%20c"),
            wanted
        );
        assert!(found(Method::GET, "/cluster/namespaces").starts_with("ListNamespaces"));
        assert_eq!(
            found(
                Method::POST,
                "/api/v1/namespaces/default/workflows/wf/delete"
            ),
            r#"DeleteWorkflowExecution [("namespace", "default"), ("workflow_execution.workflow_id", "wf")]"#
        );
    }

    #[test]
    fn wrong_methods_and_paths_are_told_apart() {
        assert_eq!(
            found(Method::DELETE, "/api/v1/namespaces/default/workflows/wf"),
            "other method"
        );
        assert_eq!(found(Method::GET, "/api/v1/nothing-here"), "nothing");
        assert_eq!(found(Method::GET, "/api/v1/namespaces/"), "nothing");
    }

    #[test]
    fn every_template_is_of_the_kind_that_is_understood() {
        let routes = Routes::annotated();
        assert!(routes.iter().count() > 150);
        for route in routes.iter() {
            assert!(
                !route.template.contains(['*', ':', '=']),
                "{}",
                route.template
            );
            for variable in route.variables() {
                let mut message = Some(route.rpc.input());
                for part in variable.split('.') {
                    let field = message
                        .and_then(|message| message.get_field_by_name(part))
                        .unwrap();
                    message = field.kind().as_message().cloned();
                }
            }
        }
    }
}
