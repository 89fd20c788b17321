//! Every field of Temporal's history events, commands and main requests, filled by the descriptors, goes to our types,
//! through MessagePack and back without loss.
//!
//! A message that gains a field does not compile in `fermata-proto`; this test finds conversions that mix fields up.

use std::collections::HashMap;
use std::sync::LazyLock;

use fermata_proto::wire::Wire;
use fermata_proto::{DESCRIPTORS, codec, command, event, pb, schedule, service};
use prost_reflect::prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("descriptors decode"));

/// Messages refer to themselves (the cause of a failure): deeper than this they stay empty.
const DEPTH_MAX: usize = 7;

/// Fills messages with values that are all different.
struct Filler {
    count: u32,
    /// Which variant of a choice is taken: it goes round with the pass.
    pass: usize,
}

impl Filler {
    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
                let count = self.next();
                message.set_field_by_name("seconds", Value::I64(i64::from(count)));
                message.set_field_by_name("nanos", Value::I32(count as i32 % 1_000_000_000));
                return message;
            }
            _ if depth > DEPTH_MAX => return message,
            _ => {}
        }
        for field in descriptor.fields() {
            if let Some(choice) = field.containing_oneof() {
                let variants: Vec<FieldDescriptor> = choice.fields().collect();
                if variants[self.pass % variants.len()].number() != field.number() {
                    continue;
                }
            }
            let value = self.field(&field, depth);
            message.set_field(&field, value);
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else {
                unreachable!("a map has entries")
            };
            let key = match entry.map_entry_key_field().kind() {
                Kind::String => MapKey::String(format!("key {}", self.next())),
                Kind::Int32 => MapKey::I32(self.next() as i32),
                Kind::Int64 => MapKey::I64(i64::from(self.next())),
                other => panic!("a map by {other:?}"),
            };
            let value = self.one(&entry.map_entry_value_field().kind(), depth);
            return Value::Map(HashMap::from([(key, value)]));
        }
        if field.is_list() {
            let kind = field.kind();
            return Value::List(vec![self.one(&kind, depth), self.one(&kind, depth)]);
        }
        self.one(&field.kind(), depth)
    }

    fn one(&mut self, kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::String => Value::String(format!("text {}", self.next())),
            Kind::Bytes => Value::Bytes(self.next().to_be_bytes().to_vec().into()),
            Kind::Bool => Value::Bool(true),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.next() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(self.next())),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.next()),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(self.next())),
            Kind::Float => Value::F32(self.next() as f32),
            Kind::Double => Value::F64(f64::from(self.next())),
            Kind::Enum(values) => {
                let numbers: Vec<i32> = values
                    .values()
                    .map(|value| value.number())
                    .filter(|number| *number != 0)
                    .collect();
                Value::EnumNumber(numbers[(self.next() as usize + self.pass) % numbers.len()])
            }
            Kind::Message(descriptor) => Value::Message(self.message(descriptor, depth + 1)),
        }
    }
}

/// There and back.
#[track_caller]
fn check<P, T>(filled: &DynamicMessage)
where
    P: Message + Default,
    T: Wire<P> + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let name = filled.descriptor().full_name().to_owned();
    let wire = P::decode(&filled.encode_to_vec()[..]).expect("the same descriptors");
    let ours = T::from_wire(wire).unwrap_or_else(|error| panic!("{name}: {error}"));
    let stored = codec::encode(&ours);
    let read: T = codec::decode(&stored).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(ours, read, "{name} through MessagePack");
    let bytes = read.into_wire().encode_to_vec();
    let back =
        DynamicMessage::decode(filled.descriptor(), &bytes[..]).expect("the same descriptors");
    assert_eq!(*filled, back, "{name} there and back");
}

/// A message with the choice `attributes` set to each of its variants in turn, and the type that goes with it.
fn each_variant(
    full_name: &str,
    type_field: &str,
    suffix: &str,
    prefix: &str,
) -> Vec<DynamicMessage> {
    let descriptor = POOL
        .get_message_by_name(full_name)
        .expect("it is a message");
    let choice = descriptor
        .oneofs()
        .find(|choice| choice.name() == "attributes")
        .expect("a choice");
    let kind = descriptor
        .get_field_by_name(type_field)
        .expect("a type")
        .kind();
    let Kind::Enum(types) = kind else {
        panic!("{type_field} is no enum")
    };
    let mut messages = Vec::new();
    for variant in choice.fields() {
        let name = variant
            .name()
            .strip_suffix(suffix)
            .expect("named after its type");
        let type_name = format!("{prefix}{}", name.to_uppercase());
        let number = types
            .get_value_by_name(&type_name)
            .unwrap_or_else(|| panic!("no type is called {type_name}"))
            .number();
        for pass in 0..4 {
            let mut filler = Filler { count: 0, pass };
            let mut message = filler.message(&descriptor, 0);
            let attributes = filler.field(&variant, 0);
            message.set_field(&variant, attributes);
            message.set_field_by_name(type_field, Value::EnumNumber(number));
            messages.push(message);
        }
    }
    messages
}

#[test]
fn every_field_of_every_history_event() {
    let events = each_variant(
        "temporal.api.history.v1.HistoryEvent",
        "event_type",
        "_event_attributes",
        "EVENT_TYPE_",
    );
    assert!(events.len() > 200, "{} are too few", events.len());
    for event in &events {
        check::<pb::history::v1::HistoryEvent, event::HistoryEvent>(event);
    }
}

#[test]
fn every_field_of_every_command() {
    let commands = each_variant(
        "temporal.api.command.v1.Command",
        "command_type",
        "_command_attributes",
        "COMMAND_TYPE_",
    );
    assert!(commands.len() > 60, "{} are too few", commands.len());
    for command in &commands {
        check::<pb::command::v1::Command, command::Command>(command);
    }
}

macro_rules! check_messages {
    ($($name:ident),* $(,)?) => { check_messages!(service: $($name),*) };
    ($module:ident: $($name:ident),* $(,)?) => {$({
        let full_name = concat!("temporal.api.workflowservice.v1.", stringify!($name));
        let descriptor = POOL.get_message_by_name(full_name).expect("it is a message");
        for pass in 0..4 {
            let filled = Filler { count: 0, pass }.message(&descriptor, 0);
            // A history inside would need events whose types fit; events have their own test.
            let filled = without_events(filled);
            check::<pb::workflowservice::v1::$name, $module::$name>(&filled);
        }
    })*};
}

fn without_events(mut message: DynamicMessage) -> DynamicMessage {
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        let Kind::Message(descriptor) = field.kind() else {
            continue;
        };
        match descriptor.full_name() {
            "temporal.api.history.v1.History" | "temporal.api.command.v1.Command" => {
                message.clear_field(&field)
            }
            "temporal.api.workflowservice.v1.PollWorkflowTaskQueueResponse" => {
                let inner = message.get_field(&field).as_message().cloned();
                if let Some(inner) = inner {
                    message.set_field(&field, Value::Message(without_events(inner)));
                }
            }
            _ => {}
        }
    }
    message
}

#[test]
fn every_field_of_the_main_requests_and_answers() {
    check_messages!(
        StartWorkflowExecutionRequest,
        StartWorkflowExecutionResponse,
        SignalWithStartWorkflowExecutionRequest,
        SignalWithStartWorkflowExecutionResponse,
        SignalWorkflowExecutionRequest,
        RequestCancelWorkflowExecutionRequest,
        TerminateWorkflowExecutionRequest,
        DescribeWorkflowExecutionResponse,
        QueryWorkflowRequest,
        QueryWorkflowResponse,
        PollWorkflowTaskQueueRequest,
        PollWorkflowTaskQueueResponse,
        PollActivityTaskQueueResponse,
        RespondWorkflowTaskCompletedRequest,
        RespondWorkflowTaskCompletedResponse,
        RespondWorkflowTaskFailedRequest,
        RespondActivityTaskCompletedRequest,
        RespondActivityTaskFailedRequest,
        RecordActivityTaskHeartbeatRequest,
        RespondQueryTaskCompletedRequest,
    );
}

#[test]
fn every_field_of_the_requests_about_schedules() {
    check_messages!(schedule:
        CreateScheduleRequest,
        DescribeScheduleResponse,
        UpdateScheduleRequest,
        PatchScheduleRequest,
        ListScheduleMatchingTimesRequest,
        ListScheduleMatchingTimesResponse,
    );
}
