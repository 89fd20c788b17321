//! From text to tree.
//!
//! ```text
//! query      = [or] ["GROUP" "BY" names] ["ORDER" "BY" name ["ASC" | "DESC"], ...] ["LIMIT" number]
//! or         = and {"OR" and}
//! and        = not {"AND" not}
//! not        = "NOT" not | "(" or ")" | condition
//! condition  = name ( sign value | ["NOT"] ("STARTS_WITH" | "LIKE") value | ["NOT"] "IN" "(" value, ... ")"
//!                   | ["NOT"] "BETWEEN" value "AND" value | "IS" ["NOT"] "NULL" )
//! ```

use super::FilterError;
use super::expression::{Expression, Operator, Query, Value};
use super::lexer::{Placed, Token, tokens};

/// Temporal puts this many bytes before a filter to make it a whole statement, and counts from there.
const STATEMENT_BYTES: usize = 27;
/// Nesting of parentheses and NOT.
const DEPTH_MAX: usize = 100;
/// Conditions of one filter; the store's own limit on depth is twice that.
const CONDITIONS_MAX: usize = 500;
/// Words that are no attribute unless in backticks.
const KEYWORDS: [&str; 21] = [
    "and", "asc", "between", "by", "desc", "from", "group", "having", "in", "insert", "is", "like",
    "limit", "not", "null", "or", "order", "select", "union", "update", "where",
];

/// Reads a query; an empty one is all runs.
///
/// # Errors
/// [`FilterError::Syntax`]
pub fn parse(text: &str) -> Result<Query, FilterError> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
        depth: 0,
        conditions: 0,
    };
    parser.query()
}

struct Parser {
    /// Ends with [`Token::End`].
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    conditions: usize,
}

impl Parser {
    fn query(&mut self) -> Result<Query, FilterError> {
        let mut query = Query::default();
        if !self.is_at("group") && !self.is_at("order") && !matches!(self.peek(), Token::End) {
            query.filter = Some(self.or()?);
        }
        if self.takes("group") {
            self.expect("by")?;
            query.group_by = self.names()?;
        }
        if self.takes("order") {
            self.expect("by")?;
            loop {
                query.order_by.push(self.name()?);
                if !self.takes("asc") {
                    self.takes("desc");
                }
                if !self.takes_sign(",") {
                    break;
                }
            }
        }
        if self.takes("limit") {
            match self.next() {
                Token::Number(_) => query.has_limit = true,
                _ => return Err(self.wrong()),
            }
        }
        match self.next() {
            Token::End => Ok(query),
            _ => Err(self.wrong()),
        }
    }

    fn or(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.and()?;
        while self.takes("or") {
            left = Expression::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expression, FilterError> {
        let mut left = self.not()?;
        while self.takes("and") {
            left = left.and(self.not()?);
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expression, FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(FilterError::Expression(format!(
                "nested deeper than {DEPTH_MAX} levels"
            )));
        }
        let expression = if self.takes("not") {
            Expression::Not(Box::new(self.not()?))
        } else if self.takes_sign("(") {
            let inner = self.or()?;
            if !self.takes_sign(")") {
                self.next();
                return Err(self.wrong());
            }
            inner
        } else {
            self.condition()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn condition(&mut self) -> Result<Expression, FilterError> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            return Err(FilterError::Expression(format!(
                "more than {CONDITIONS_MAX} conditions"
            )));
        }
        if matches!(self.peek(), Token::Text(_) | Token::Number(_)) {
            self.next();
            self.rest_of_condition("")?;
            return Ok(Expression::NoAttribute);
        }
        let attribute = self.name()?;
        self.rest_of_condition(&attribute)
    }

    fn rest_of_condition(&mut self, attribute: &str) -> Result<Expression, FilterError> {
        let attribute = attribute.to_owned();
        if self.takes("is") {
            let negated = self.takes("not");
            self.expect("null")?;
            return Ok(Expression::IsNull { attribute, negated });
        }
        let negated = self.takes("not");
        if self.takes("in") {
            return Ok(Expression::In {
                attribute,
                negated,
                values: self.values()?,
            });
        }
        if self.takes("between") {
            let low = self.value()?;
            self.expect("and")?;
            let high = self.value()?;
            return Ok(Expression::Between {
                attribute,
                negated,
                low,
                high,
            });
        }
        for (word, plain, opposite) in [
            ("starts_with", Operator::StartsWith, Operator::NotStartsWith),
            ("like", Operator::Like, Operator::NotLike),
        ] {
            if self.takes(word) {
                return Ok(Expression::Compare {
                    attribute,
                    operator: if negated { opposite } else { plain },
                    value: self.value()?,
                });
            }
        }
        if negated {
            self.next();
            return Err(self.wrong());
        }
        let operator = match self.peek() {
            Token::Sign("=") => Operator::Equal,
            Token::Sign("!=" | "<>") => Operator::NotEqual,
            Token::Sign("<") => Operator::Less,
            Token::Sign("<=") => Operator::LessOrEqual,
            Token::Sign(">") => Operator::Greater,
            Token::Sign(">=") => Operator::GreaterOrEqual,
            _ => return Ok(Expression::Bare),
        };
        self.next();
        Ok(Expression::Compare {
            attribute,
            operator,
            value: self.value()?,
        })
    }

    fn values(&mut self) -> Result<Vec<Value>, FilterError> {
        if !self.takes_sign("(") {
            self.next();
            return Err(self.wrong());
        }
        let mut values = vec![self.value()?];
        while self.takes_sign(",") {
            values.push(self.value()?);
        }
        if !self.takes_sign(")") {
            self.next();
            return Err(self.wrong());
        }
        Ok(values)
    }

    fn value(&mut self) -> Result<Value, FilterError> {
        let sign = if self.takes_sign("-") { "-" } else { "" };
        match self.next().clone() {
            Token::Number(number) => Ok(Value::Number(format!("{sign}{number}"))),
            Token::Text(text) if sign.is_empty() => Ok(Value::Text(text)),
            Token::Name(name) if sign.is_empty() => Ok(Value::Word(name)),
            Token::Word(word) if sign.is_empty() && !is_keyword(&word) => {
                Ok(match word.to_ascii_lowercase().as_str() {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    _ => Value::Word(word),
                })
            }
            _ => Err(self.wrong()),
        }
    }

    fn names(&mut self) -> Result<Vec<String>, FilterError> {
        let mut names = vec![self.name()?];
        while self.takes_sign(",") {
            names.push(self.name()?);
        }
        Ok(names)
    }

    fn name(&mut self) -> Result<String, FilterError> {
        match self.next().clone() {
            Token::Name(name) => Ok(name),
            Token::Word(word) if !is_keyword(&word) => Ok(word),
            _ => Err(self.wrong()),
        }
    }

    fn peek(&self) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[self.at.min(last)].token
    }

    fn next(&mut self) -> &Token {
        let last = self.tokens.len() - 1;
        let at = self.at.min(last);
        self.at += 1;
        &self.tokens[at].token
    }

    fn is_at(&self, keyword: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let found = self.is_at(keyword);
        self.at += usize::from(found);
        found
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, keyword: &str) -> Result<(), FilterError> {
        if self.takes(keyword) {
            return Ok(());
        }
        self.next();
        Err(self.wrong())
    }

    /// The token that was taken last has no place there.
    fn wrong(&self) -> FilterError {
        let last = self.tokens.len() - 1;
        let placed = &self.tokens[self.at.saturating_sub(1).min(last)];
        let near = match &placed.token {
            Token::Word(word) if is_keyword(word) => word.to_ascii_lowercase(),
            Token::Word(text)
            | Token::Name(text)
            | Token::Text(text)
            | Token::Number(text)
            | Token::Unclosed(text) => text.clone(),
            Token::Sign(_) | Token::Other(_) | Token::End => String::new(),
        };
        FilterError::Syntax {
            position: STATEMENT_BYTES + placed.end + 1,
            near,
        }
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS
        .iter()
        .any(|keyword| keyword.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(expression: &Expression) -> String {
            match expression {
                Expression::And(left, right) => format!("({} & {})", show(left), show(right)),
                Expression::Or(left, right) => format!("({} | {})", show(left), show(right)),
                Expression::Not(inner) => format!("!{}", show(inner)),
                Expression::Compare {
                    attribute,
                    operator,
                    value,
                } => format!("{attribute} {} {value:?}", operator.as_str()),
                other => format!("{other:?}"),
            }
        }
        show(&parse(text).unwrap().filter.unwrap())
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert_eq!(
            shown("A = 1 OR B = 'x' and not C >= -2.5"),
            r#"(A = Number("1") | (B = Text("x") & !C >= Number("-2.5")))"#
        );
        assert_eq!(
            shown("(`A` = true OR B starts_with 'x') AND C NOT STARTS_WITH \"y\""),
            r#"((A = Bool(true) | B STARTS_WITH Text("x")) & C NOT STARTS_WITH Text("y"))"#
        );
    }

    #[test]
    fn group_order_and_limit_follow() {
        let query = parse("A = 1 GROUP BY ExecutionStatus").unwrap();
        assert_eq!(query.group_by, ["ExecutionStatus"]);
        let query = parse("GROUP BY A, B").unwrap();
        assert_eq!((query.filter, query.group_by.len()), (None, 2));
        assert_eq!(parse("ORDER BY A DESC, B").unwrap().order_by, ["A", "B"]);
        assert_eq!(parse(" ").unwrap(), Query::default());
    }

    /// Positions as recorded from Temporal.
    #[test]
    fn syntax_errors_say_where() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        let at = |rest: &str| {
            format!("invalid query: malformed SQL query: syntax error at position {rest}")
        };
        assert_eq!(message("WorkflowType ="), at("42"));
        assert_eq!(message("WorkflowType == \"x\""), at("43"));
        assert_eq!(message("WorkflowType = \"x"), at("45 near 'x'"));
        assert_eq!(message("SELECT * FROM executions"), at("34 near 'select'"));
        assert_eq!(message("WorkflowType BETWEEN 'a'"), at("52"));
        assert_eq!(message("WorkflowType IN ()"), at("46"));
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"(".repeat(10_000)).is_err());
        assert!(parse(&"NOT ".repeat(10_000)).is_err());
        assert!(parse(&vec!["A = 1"; 10_000].join(" AND ")).is_err());
    }
}
