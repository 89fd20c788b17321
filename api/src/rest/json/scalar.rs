//! Values that are one token of JSON, and the same values as plain text in paths and query strings.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value};

use super::enums;

/// Any padding on the way in, always padded on the way out.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Standard base64.
pub(super) static BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
static BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// Bytes from base64 in either alphabet, padded or not.
pub(super) fn bytes_of(text: &str) -> Option<Bytes> {
    let engine = if text.contains(['-', '_']) {
        &BASE64_URL
    } else {
        &BASE64
    };
    engine.decode(text).ok().map(Bytes::from)
}

/// The value of a scalar field from a number token, or from the text of a string.
///
/// Integers may be written with a fraction or an exponent if they are whole, as in ProtoJSON.
pub(super) fn number_of(kind: &Kind, token: &str) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            integer(token)?.try_into().ok().map(Value::I32)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            integer(token)?.try_into().ok().map(Value::I64)
        }
        Kind::Uint32 | Kind::Fixed32 => integer(token)?.try_into().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(token)?.try_into().ok().map(Value::U64),
        Kind::Float => real(token).map(|real| Value::F32(real as f32)),
        Kind::Double => real(token).map(Value::F64),
        _ => None,
    }
}

fn integer(token: &str) -> Option<i128> {
    if let Ok(whole) = token.parse::<i128>() {
        return Some(whole);
    }
    let real = token.parse::<f64>().ok()?;
    (real.fract() == 0.0 && real.abs() < 2f64.powi(64)).then_some(real as i128)
}

fn real(token: &str) -> Option<f64> {
    token.parse::<f64>().ok().filter(|real| real.is_finite())
}

/// The value of a scalar field from a JSON string.
pub(super) fn string_of(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bytes => bytes_of(text).map(Value::Bytes),
        Kind::Enum(of) => enums::by_name(of, text).map(Value::EnumNumber),
        Kind::Float | Kind::Double => {
            let special = match text {
                "NaN" => f64::NAN,
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                _ => return number_of(kind, text),
            };
            Some(if *kind == Kind::Float {
                Value::F32(special as f32)
            } else {
                Value::F64(special)
            })
        }
        Kind::Bool | Kind::Message(_) => None,
        _ => number_of(kind, text),
    }
}

/// A key of a map field from the name in the JSON object.
pub(super) fn map_key_of(kind: &Kind, name: &str) -> Option<MapKey> {
    match kind {
        Kind::String => Some(MapKey::String(name.to_owned())),
        Kind::Bool => name.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => name.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => name.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => name.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => name.parse().ok().map(MapKey::U64),
        _ => None,
    }
}

/// Whether this message is written as one JSON string.
pub fn is_text_message(message: &MessageDescriptor) -> bool {
    matches!(
        message.full_name(),
        "google.protobuf.Duration" | "google.protobuf.Timestamp" | "google.protobuf.FieldMask"
    )
}

/// A message that is written as one string, from that string.
pub(super) fn message_of_text(message: MessageDescriptor, text: &str) -> Option<DynamicMessage> {
    let mut value = DynamicMessage::new(message.clone());
    match message.full_name() {
        "google.protobuf.Duration" => {
            let (seconds, nanos) = parse_duration(text)?;
            value.set_field_by_name("seconds", Value::I64(seconds));
            value.set_field_by_name("nanos", Value::I32(nanos));
        }
        "google.protobuf.Timestamp" => {
            let (seconds, nanos) = parse_timestamp(text)?;
            value.set_field_by_name("seconds", Value::I64(seconds));
            value.set_field_by_name("nanos", Value::I32(nanos));
        }
        "google.protobuf.FieldMask" => {
            let paths = text.split(',').filter(|path| !path.is_empty());
            let paths = paths.map(|path| Value::String(snake_case(path))).collect();
            value.set_field_by_name("paths", Value::List(paths));
        }
        _ => return None,
    }
    Some(value)
}

/// The value that plain text in a path or a query stands for. Wrappers and messages with a text form are accepted.
pub fn from_text(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Bool => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        Kind::Enum(of) => {
            let number = text.parse::<i32>().ok();
            number
                .or_else(|| enums::by_name(of, text))
                .map(Value::EnumNumber)
        }
        Kind::Message(message) if is_text_message(message) => {
            message_of_text(message.clone(), text).map(Value::Message)
        }
        Kind::Message(message) if is_wrapper(message) => {
            let inner = from_text(&message.get_field_by_name("value")?.kind(), text)?;
            let mut wrapper = DynamicMessage::new(message.clone());
            wrapper.set_field_by_name("value", inner);
            Some(Value::Message(wrapper))
        }
        _ => string_of(kind, text),
    }
}

/// Whether this is one of google.protobuf's wrappers (`DoubleValue` ...), written as the value alone.
pub(super) fn is_wrapper(message: &MessageDescriptor) -> bool {
    let name = message.full_name();
    name.starts_with("google.protobuf.")
        && name.ends_with("Value")
        && name != "google.protobuf.Value"
        && name != "google.protobuf.ListValue"
}

/// Largest span of a `google.protobuf.Duration`: about 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Seconds and nanoseconds from `"1.5s"`.
pub(super) fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let number = text.strip_suffix('s')?;
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole)
        || !digits(fraction)
        || fraction.len() > 9
        || (whole.is_empty() && fraction.is_empty())
    {
        return None;
    }
    let seconds = if whole.is_empty() {
        0
    } else {
        whole.parse::<i64>().ok()?
    };
    let nanos = format!("{fraction:0<9}").parse::<i32>().ok()?;
    (seconds <= DURATION_SECONDS_MAX).then_some((sign * seconds, sign as i32 * nanos))
}

/// `"1.500s"`: no, three, six or nine digits behind the point.
pub(super) fn write_duration(seconds: i64, nanos: i32) -> String {
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    format!(
        "{sign}{}{}s",
        seconds.unsigned_abs(),
        fraction(nanos.unsigned_abs())
    )
}

fn parse_timestamp(text: &str) -> Option<(i64, i32)> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    let nanos = time.as_nanosecond();
    Some((
        nanos.div_euclid(1_000_000_000) as i64,
        nanos.rem_euclid(1_000_000_000) as i32,
    ))
}

/// RFC 3339 in UTC; `None` outside the years 1 to 9999.
pub(super) fn write_timestamp(seconds: i64, nanos: i32) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
    Some(format!("{whole}{}Z", fraction(nanos.unsigned_abs())))
}

fn fraction(nanos: u32) -> String {
    let digits = format!("{nanos:09}");
    match nanos {
        0 => String::new(),
        _ if nanos.is_multiple_of(1_000_000) => format!(".{}", &digits[..3]),
        _ if nanos.is_multiple_of(1_000) => format!(".{}", &digits[..6]),
        _ => format!(".{digits}"),
    }
}

/// `workflowRunTimeout` to `workflow_run_timeout`, in each part of a dotted path.
fn snake_case(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 8);
    for c in path.trim().chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// `workflow_run_timeout` to `workflowRunTimeout`.
pub(super) fn camel_case(path: &str) -> String {
    let mut camel = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_there_and_back() {
        for text in ["0s", "60s", "1.500s", "-2.000001s", "3.000000007s"] {
            let (seconds, nanos) = parse_duration(text).unwrap();
            assert_eq!(write_duration(seconds, nanos), text);
        }
        for text in ["5", "s", "1.s.s", "1m", "", "1e3s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_are_utc_with_short_fractions() {
        let (seconds, nanos) = parse_timestamp("2026-01-02T03:04:05.250+01:00").unwrap();
        assert_eq!(
            write_timestamp(seconds, nanos).unwrap(),
            "2026-01-02T02:04:05.250Z"
        );
    }

    #[test]
    fn whole_numbers_may_be_written_with_an_exponent() {
        assert_eq!(number_of(&Kind::Int32, "1e3"), Some(Value::I32(1000)));
        assert_eq!(number_of(&Kind::Int32, "1.5"), None);
        assert_eq!(number_of(&Kind::Int32, "3000000000"), None);
        assert_eq!(
            number_of(&Kind::Uint64, "18446744073709551615"),
            Some(Value::U64(u64::MAX))
        );
    }
}
