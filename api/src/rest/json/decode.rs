//! A tree of JSON laid over a message. Unknown fields are refused, with their place.

use std::collections::{HashMap, HashSet};

use prost::Message;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

use super::syntax::{Document, Key, Node, Value as Json, parse};
use super::{JsonError, payload, scalar};

/// The message that the text is. A blank text is the empty message.
///
/// # Errors
/// If the text is not JSON, or has a field that the message lacks or a value of the wrong type.
pub fn decode(
    descriptor: MessageDescriptor,
    text: &str,
    shorthand: bool,
) -> Result<DynamicMessage, JsonError> {
    match parse(text)? {
        None => Ok(DynamicMessage::new(descriptor)),
        Some(document) => Decoder {
            document: &document,
            shorthand,
        }
        .message(descriptor, &document.root, false),
    }
}

/// The message within `{"<name>": {...}}`, of the type that `descriptor_of` knows by the name; with the name.
///
/// # Errors
/// If the text is not JSON, not an object with one member of a known name, or as in [`decode`].
pub fn decode_tagged<'t>(
    descriptor_of: impl Fn(&str) -> Option<(&'t str, MessageDescriptor)>,
    text: &str,
) -> Result<(&'t str, DynamicMessage), JsonError> {
    let Some(document) = parse(text)? else {
        return Err(JsonError::Syntax("an empty text".to_owned()));
    };
    let Json::Object(members) = &document.root.value else {
        return Err(document.unexpected(&document.root));
    };
    let [(key, node)] = &members[..] else {
        let what = format!("{} members where one is expected", members.len());
        return Err(document.shape(document.root.at, what));
    };
    let Some((name, descriptor)) = descriptor_of(&key.name) else {
        return Err(document.shape(key.at, format!("unknown request {}", key.token)));
    };
    let decoder = Decoder {
        document: &document,
        shorthand: true,
    };
    Ok((name, decoder.message(descriptor, node, false)?))
}

pub(super) struct Decoder<'a> {
    pub document: &'a Document<'a>,
    /// Whether plain JSON is accepted where a payload belongs.
    shorthand: bool,
}

impl Decoder<'_> {
    fn message(
        &self,
        descriptor: MessageDescriptor,
        node: &Node<'_>,
        in_any: bool,
    ) -> Result<DynamicMessage, JsonError> {
        if self.shorthand {
            match (descriptor.full_name(), &node.value) {
                (payload::PAYLOAD, _) => return payload::read(descriptor, node, self.document),
                (payload::PAYLOADS, Json::Array(items)) => {
                    return payload::read_all(descriptor, items, self.document);
                }
                _ => {}
            }
        }
        if descriptor.full_name() == "google.protobuf.Any" {
            return self.any(descriptor, node);
        }
        if scalar::is_text_message(&descriptor) {
            return self.text_message(descriptor, node);
        }
        if scalar::is_wrapper(&descriptor) {
            let field = descriptor
                .get_field_by_name("value")
                .expect("each wrapper has the field value");
            let mut wrapper = DynamicMessage::new(descriptor);
            wrapper.set_field(&field, self.scalar(&field, node)?);
            return Ok(wrapper);
        }
        let Json::Object(members) = &node.value else {
            return Err(self.document.unexpected(node));
        };
        let mut message = DynamicMessage::new(descriptor);
        let mut seen_fields = HashSet::new();
        let mut seen_oneofs = HashSet::new();
        for (key, value) in members {
            if in_any && key.name == "@type" {
                continue;
            }
            let field = self.field(&message.descriptor(), key)?;
            if !seen_fields.insert(field.number()) {
                return Err(self
                    .document
                    .shape(key.at, format!("duplicate field {}", key.token)));
            }
            if matches!(value.value, Json::Null) {
                continue;
            }
            if let Some(oneof) = field.containing_oneof()
                && !seen_oneofs.insert(oneof.full_name().to_owned())
            {
                let what = format!(
                    "error parsing {}, oneof {} is already set",
                    key.token,
                    oneof.full_name()
                );
                return Err(self.document.shape(key.at, what));
            }
            let value = self.field_value(&field, value)?;
            message.set_field(&field, value);
        }
        Ok(message)
    }

    fn field(
        &self,
        descriptor: &MessageDescriptor,
        key: &Key<'_>,
    ) -> Result<FieldDescriptor, JsonError> {
        descriptor
            .get_field_by_json_name(&key.name)
            .or_else(|| descriptor.get_field_by_name(&key.name))
            .ok_or_else(|| {
                self.document
                    .shape(key.at, format!("unknown field {}", key.token))
            })
    }

    fn field_value(&self, field: &FieldDescriptor, node: &Node<'_>) -> Result<Value, JsonError> {
        match (field.is_list(), field.is_map(), &node.value) {
            (true, _, Json::Array(items)) => {
                let items = items.iter().map(|item| self.single(field, item));
                items.collect::<Result<_, _>>().map(Value::List)
            }
            (_, true, Json::Object(members)) => self.map(field, members),
            (false, false, _) => self.single(field, node),
            _ => Err(self.document.unexpected(node)),
        }
    }

    fn map(
        &self,
        field: &FieldDescriptor,
        members: &[(Key<'_>, Node<'_>)],
    ) -> Result<Value, JsonError> {
        let Kind::Message(entry) = field.kind() else {
            unreachable!("a map field is a list of entry messages")
        };
        let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let mut map = HashMap::with_capacity(members.len());
        for (key, node) in members {
            let Some(map_key) = scalar::map_key_of(&key_field.kind(), &key.name) else {
                let what = format!(
                    "invalid value for {} key: {}",
                    kind_name(&key_field.kind()),
                    key.token
                );
                return Err(self.document.shape(key.at, what));
            };
            let value = self.single(&value_field, node)?;
            if map.insert(map_key, value).is_some() {
                return Err(self
                    .document
                    .shape(key.at, format!("duplicate map key {}", key.token)));
            }
        }
        Ok(Value::Map(map))
    }

    fn single(&self, field: &FieldDescriptor, node: &Node<'_>) -> Result<Value, JsonError> {
        match field.kind() {
            Kind::Message(descriptor) => self.message(descriptor, node, false).map(Value::Message),
            _ => self.scalar(field, node),
        }
    }

    fn scalar(&self, field: &FieldDescriptor, node: &Node<'_>) -> Result<Value, JsonError> {
        let kind = field.kind();
        let value = match &node.value {
            Json::Bool(flag) if kind == Kind::Bool => Some(Value::Bool(*flag)),
            Json::Number => match kind {
                Kind::Enum(_) => scalar::number_of(&Kind::Int32, node.token)
                    .and_then(|number| number.as_i32())
                    .map(Value::EnumNumber),
                _ => scalar::number_of(&kind, node.token),
            },
            Json::String(text) => scalar::string_of(&kind, text),
            _ => None,
        };
        value.ok_or_else(|| {
            let what = format!(
                "invalid value for {} type: {}",
                kind_name(&kind),
                node.token
            );
            self.document.shape(node.at, what)
        })
    }

    fn text_message(
        &self,
        descriptor: MessageDescriptor,
        node: &Node<'_>,
    ) -> Result<DynamicMessage, JsonError> {
        let Json::String(text) = &node.value else {
            return Err(self.document.unexpected(node));
        };
        let name = descriptor.full_name().to_owned();
        scalar::message_of_text(descriptor, text).ok_or_else(|| {
            self.document
                .shape(node.at, format!("invalid {name} value {}", node.token))
        })
    }

    /// `{"@type": "type.googleapis.com/...", ...}` with the fields of that message beside it.
    fn any(
        &self,
        descriptor: MessageDescriptor,
        node: &Node<'_>,
    ) -> Result<DynamicMessage, JsonError> {
        let Json::Object(members) = &node.value else {
            return Err(self.document.unexpected(node));
        };
        let mut any = DynamicMessage::new(descriptor.clone());
        if members.is_empty() {
            return Ok(any);
        }
        let url = members
            .iter()
            .find(|(key, _)| key.name == "@type")
            .map(|(_, value)| value);
        let Some(Node {
            value: Json::String(url),
            ..
        }) = url
        else {
            return Err(self.document.shape(node.at, "missing \"@type\" field"));
        };
        let name = url.rsplit('/').next().unwrap_or_default();
        let Some(inner) = descriptor.parent_pool().get_message_by_name(name) else {
            return Err(self
                .document
                .shape(node.at, format!("unable to resolve {url:?}: not found")));
        };
        let has_own_form = scalar::is_text_message(&inner)
            || scalar::is_wrapper(&inner)
            || name == "google.protobuf.Any";
        let inner = if has_own_form {
            let value = members
                .iter()
                .find(|(key, _)| key.name == "value")
                .map(|(_, value)| value);
            let value =
                value.ok_or_else(|| self.document.shape(node.at, "missing \"value\" field"))?;
            self.message(inner, value, false)?
        } else {
            self.message(inner, node, true)?
        };
        any.set_field_by_name("type_url", Value::String(url.clone().into_owned()));
        any.set_field_by_name("value", Value::Bytes(inner.encode_to_vec().into()));
        Ok(any)
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Message(_) => "message",
        Kind::Enum(_) => "enum",
    }
}
