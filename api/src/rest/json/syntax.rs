//! Text to a tree of JSON values that remember where they stood.
//!
//! Messages follow Go's encoding/json, because that is what callers of Temporal's HTTP API read today.

use std::borrow::Cow;

use super::JsonError;

/// Deepest nesting that is read; protects the stack.
pub const DEPTH_MAX: usize = 128;

/// A value and the text it was read from.
#[derive(Debug)]
pub struct Node<'a> {
    /// Byte offset of its first character, from the start of the whole value.
    pub at: usize,
    /// The first token's text: the whole of a scalar, the bracket of a container.
    pub token: &'a str,
    /// What it is.
    pub value: Value<'a>,
}

/// A JSON value. Numbers stay text, so that nothing is lost before the wanted type is known.
#[derive(Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Number,
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<(Key<'a>, Node<'a>)>),
}

/// A name in an object.
#[derive(Debug)]
pub struct Key<'a> {
    /// Byte offset of its opening quote.
    pub at: usize,
    /// The text with quotes.
    pub token: &'a str,
    /// The name.
    pub name: Cow<'a, str>,
}

/// A value with the text that positions are counted in.
#[derive(Debug)]
pub struct Document<'a> {
    pub text: &'a str,
    pub root: Node<'a>,
}

impl Document<'_> {
    /// The error that the value of the token at `at` gets.
    pub fn shape(&self, at: usize, what: impl Into<String>) -> JsonError {
        self.error(false, at, what.into())
    }

    /// The error that a token of the wrong kind gets.
    pub fn unexpected(&self, node: &Node<'_>) -> JsonError {
        self.error(true, node.at, format!("unexpected token {}", node.token))
    }

    fn error(&self, of_token: bool, at: usize, what: String) -> JsonError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        JsonError::Shape {
            of_token,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what,
        }
    }
}

/// Reads the first JSON value of the text; what follows it is not looked at. `None` for a blank text.
///
/// # Errors
/// [`JsonError::Syntax`] if the text is not JSON or nests deeper than [`DEPTH_MAX`].
pub fn parse(text: &str) -> Result<Option<Document<'_>>, JsonError> {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if text.is_empty() {
        return Ok(None);
    }
    let mut parser = Parser { text, at: 0 };
    let root = parser.value(0)?;
    Ok(Some(Document { text, root }))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The error for the character under the cursor, or for the end of the text.
    fn invalid(&self, context: &str) -> JsonError {
        JsonError::Syntax(match self.text[self.at..].chars().next() {
            None => "unexpected EOF".to_owned(),
            Some('\'') => format!(r"invalid character '\'' {context}"),
            Some(c) if c.is_control() => {
                format!("invalid character '{}' {context}", c.escape_default())
            }
            Some(c) => format!("invalid character '{c}' {context}"),
        })
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::Syntax("exceeded max depth".to_owned()));
        }
        self.skip_blanks();
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.invalid("looking for beginning of value")),
        };
        let end = if matches!(value, Value::Object(_) | Value::Array(_)) {
            at + 1
        } else {
            self.at
        };
        Ok(Node {
            at,
            token: &self.text[at..end],
            value,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_blanks();
            if self.peek() != Some(b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            let at = self.at;
            let name = self.string()?;
            let key = Key {
                at,
                token: &self.text[at..self.at],
                name,
            };
            self.skip_blanks();
            if self.peek() != Some(b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            members.push((key, self.value(depth + 1)?));
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                _ => return Err(self.invalid("after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(self.invalid("after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.invalid(&format!(
                    "in literal {word} (expecting '{}')",
                    expected as char
                )));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Value<'a>, JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.invalid("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.invalid("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.invalid("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(Value::Number)
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let run = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            if let Some(text) = &mut unescaped {
                text.push_str(&self.text[run..self.at]);
            }
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(
                        unescaped.map_or_else(|| Cow::Borrowed(&self.text[start..end]), Cow::Owned)
                    );
                }
                Some(b'\\') => {
                    let text =
                        unescaped.get_or_insert_with(|| self.text[start..self.at].to_owned());
                    let mut text = std::mem::take(text);
                    self.at += 1;
                    text.push(self.escape()?);
                    unescaped = Some(text);
                }
                _ => return Err(self.invalid("in string literal")),
            }
        }
    }

    /// The character that the escape under the cursor (behind its backslash) stands for.
    fn escape(&mut self) -> Result<char, JsonError> {
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex4()?;
                let low_follows =
                    (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u");
                if low_follows {
                    let behind_first = self.at;
                    self.at += 2;
                    let second = self.hex4()?;
                    if (0xDC00..0xE000).contains(&second) {
                        let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                        return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = behind_first;
                }
                // Half a surrogate pair is no character; Go writes U+FFFD in its place.
                return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return Err(self.invalid("in string escape code")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| (byte as char).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.invalid("in \\u hexadecimal character escape"));
            };
            number = number * 16 + digit;
            self.at += 1;
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn broken_texts_are_named_as_go_names_them() {
        assert_eq!(refused(r#"{"workflowType": {"#), "unexpected EOF");
        assert_eq!(
            refused("{,"),
            "invalid character ',' looking for beginning of object key string"
        );
        assert_eq!(
            refused("[1 2]"),
            "invalid character '2' after array element"
        );
        assert_eq!(
            refused("x"),
            "invalid character 'x' looking for beginning of value"
        );
        assert_eq!(
            refused("trve"),
            "invalid character 'v' in literal true (expecting 'u')"
        );
        assert_eq!(
            refused("\"a\nb\""),
            "invalid character '\\n' in string literal"
        );
        assert_eq!(refused("-"), "unexpected EOF");
        assert!(refused(&"[".repeat(100_000)).contains("depth"));
    }

    #[test]
    fn strings_are_unescaped() {
        let document = parse(r#" "aé😀\n\ud83d" "#).unwrap().unwrap();
        let Value::String(text) = &document.root.value else {
            panic!("a string")
        };
        assert_eq!(text, "aé😀\n\u{fffd}");
    }

    #[test]
    fn a_blank_text_is_no_value() {
        assert!(parse(" \n").unwrap().is_none());
    }
}
