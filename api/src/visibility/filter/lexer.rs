//! Words and signs of a filter.

/// One word or sign.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Not quoted: an attribute or a keyword.
    Word(String),
    /// In backticks: an attribute.
    Name(String),
    /// In quotes of either kind.
    Text(String),
    Number(String),
    Sign(&'static str),
    /// A quote that is never closed.
    Unclosed(String),
    /// What has no place in a filter.
    Other(char),
    End,
}

/// A token and where it ends, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub token: Token,
    pub end: usize,
}

const SIGNS: [&str; 13] = [
    "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "-", "+", "*",
];

/// All tokens, [`Token::End`] last.
pub(super) fn tokens(text: &str) -> Vec<Placed> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            tokens.push(Placed {
                token: Token::End,
                end: at,
            });
            return tokens;
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = next(rest, first);
        at += length;
        tokens.push(Placed { token, end: at });
    }
}

fn next(rest: &str, first: char) -> (Token, usize) {
    if first == '\'' || first == '"' || first == '`' {
        return quoted(rest, first);
    }
    if first.is_alphabetic() || first == '_' {
        let length = span(rest, |c| c.is_alphanumeric() || c == '_');
        return (Token::Word(rest[..length].to_owned()), length);
    }
    if first.is_ascii_digit() {
        let length = span(rest, |c| c.is_ascii_alphanumeric() || c == '.');
        return (Token::Number(rest[..length].to_owned()), length);
    }
    match SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
        Some(sign) => (Token::Sign(sign), sign.len()),
        None => (Token::Other(first), first.len_utf8()),
    }
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// A quote inside is doubled, or stands behind a backslash, as does a backslash.
fn quoted(text: &str, quote: char) -> (Token, usize) {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            if let Some((_, escaped)) = chars.next() {
                content.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    other => other,
                });
            }
        } else if c != quote {
            content.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            content.push(quote);
            chars.next();
        } else {
            let token = if quote == '`' {
                Token::Name(content)
            } else {
                Token::Text(content)
            };
            return (token, at + quote.len_utf8());
        }
    }
    (Token::Unclosed(content), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        tokens(text)
            .into_iter()
            .map(|placed| placed.token)
            .collect()
    }

    #[test]
    fn texts_are_quoted_either_way_and_names_in_backticks() {
        assert_eq!(
            kinds(r#"`A b` = 'it''s' "say \"x\"""#),
            [
                Token::Name("A b".to_owned()),
                Token::Sign("="),
                Token::Text("it's".to_owned()),
                Token::Text("say \"x\"".to_owned()),
                Token::End,
            ]
        );
        assert_eq!(
            kinds("x<=1.5e3"),
            [
                Token::Word("x".to_owned()),
                Token::Sign("<="),
                Token::Number("1.5e3".to_owned()),
                Token::End,
            ]
        );
        assert_eq!(kinds("'é"), [Token::Unclosed("é".to_owned()), Token::End]);
    }
}
