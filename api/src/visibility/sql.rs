//! A filter as a condition on the table `runs`: attribute types checked, all values bound, never written into the statement.

use std::collections::BTreeMap;

use fermata_proto::enums::{IndexedValueType, WorkflowExecutionStatus};
use rusqlite::types::Value as Bound;

use super::attribute::{self, Attribute, EXECUTION_STATUS, Place};
use super::filter::FilterError;
use super::filter::expression::{Expression, Operator, Value};
use super::record::words;

/// A condition and the values of its question marks.
#[derive(Debug, Default, PartialEq)]
pub struct Condition {
    pub sql: String,
    pub values: Vec<Bound>,
}

/// The statuses by the names that filters use.
pub const STATUSES: [(&str, WorkflowExecutionStatus); 8] = [
    ("Running", WorkflowExecutionStatus::Running),
    ("Completed", WorkflowExecutionStatus::Completed),
    ("Failed", WorkflowExecutionStatus::Failed),
    ("Canceled", WorkflowExecutionStatus::Canceled),
    ("Terminated", WorkflowExecutionStatus::Terminated),
    ("ContinuedAsNew", WorkflowExecutionStatus::ContinuedAsNew),
    ("TimedOut", WorkflowExecutionStatus::TimedOut),
    ("Paused", WorkflowExecutionStatus::Paused),
];

/// The condition of a filter in a namespace with `custom` attributes.
///
/// # Errors
/// If it names an unknown attribute, or compares one with what it cannot be.
pub fn condition(
    expression: &Expression,
    custom: &BTreeMap<String, IndexedValueType>,
) -> Result<Condition, FilterError> {
    let mut writer = Writer {
        custom,
        out: Condition::default(),
    };
    writer.write(expression)?;
    Ok(writer.out)
}

struct Writer<'a> {
    custom: &'a BTreeMap<String, IndexedValueType>,
    out: Condition,
}

impl Writer<'_> {
    fn write(&mut self, expression: &Expression) -> Result<(), FilterError> {
        match expression {
            Expression::And(left, right) => self.both(left, " AND ", right),
            Expression::Or(left, right) => self.both(left, " OR ", right),
            Expression::Not(inner) => {
                self.out.sql.push_str("NOT (");
                self.write(inner)?;
                self.out.sql.push(')');
                Ok(())
            }
            Expression::Compare {
                attribute,
                operator,
                value,
            } => self.compare(&self.find(attribute)?, *operator, value),
            Expression::In {
                attribute,
                negated,
                values,
            } => self.is_in(&self.find(attribute)?, *negated, values),
            Expression::Between {
                attribute,
                negated,
                low,
                high,
            } => self.between(&self.find(attribute)?, *negated, low, high),
            Expression::IsNull { attribute, negated } => {
                let attribute = self.find(attribute)?;
                self.single(&attribute);
                let test = if *negated { " IS NOT NULL" } else { " IS NULL" };
                self.out.sql.push_str(test);
                Ok(())
            }
            Expression::Bare => Err(FilterError::Expression("incomplete expression".to_owned())),
            // The words of Temporal, whose parser is written in Go.
            Expression::NoAttribute => Err(FilterError::Expression(
                "must be a column name but was *sqlparser.SQLVal".to_owned(),
            )),
        }
    }

    fn both(
        &mut self,
        left: &Expression,
        word: &str,
        right: &Expression,
    ) -> Result<(), FilterError> {
        self.out.sql.push('(');
        self.write(left)?;
        self.out.sql.push_str(word);
        self.write(right)?;
        self.out.sql.push(')');
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Attribute, FilterError> {
        attribute::find(name, self.custom)
            .ok_or_else(|| FilterError::UnknownAttribute(name.to_owned()))
    }

    fn compare(
        &mut self,
        attribute: &Attribute,
        operator: Operator,
        value: &Value,
    ) -> Result<(), FilterError> {
        use IndexedValueType as Type;
        match (attribute.value_type, operator) {
            (Type::KeywordList, Operator::Equal | Operator::NotEqual) => {
                let value = bound(attribute, value)?;
                self.any_of(attribute, operator == Operator::NotEqual, vec![value]);
                Ok(())
            }
            (Type::Text, Operator::Equal | Operator::NotEqual) => {
                let Bound::Text(text) = bound(attribute, value)? else {
                    return Err(wrong_type(attribute, value));
                };
                let words = words(&text).map(Bound::Text).collect();
                self.any_of(attribute, operator == Operator::NotEqual, words);
                Ok(())
            }
            (Type::Bool, Operator::Equal | Operator::NotEqual)
            | (
                Type::Keyword | Type::Int | Type::Double | Type::Datetime,
                Operator::Equal
                | Operator::NotEqual
                | Operator::Less
                | Operator::LessOrEqual
                | Operator::Greater
                | Operator::GreaterOrEqual,
            ) => {
                let value = bound(attribute, value)?;
                self.single(attribute);
                self.out.sql.push_str(&format!(" {} ?", operator.as_str()));
                self.out.values.push(value);
                Ok(())
            }
            (Type::Keyword, Operator::StartsWith | Operator::NotStartsWith)
                if attribute.name != EXECUTION_STATUS =>
            {
                let Bound::Text(prefix) = bound(attribute, value)? else {
                    return Err(wrong_type(attribute, value));
                };
                self.starts_with(attribute, operator == Operator::NotStartsWith, prefix);
                Ok(())
            }
            _ => {
                // A value that makes no sense is told of first.
                if !matches!(operator, Operator::Like | Operator::NotLike) {
                    bound(attribute, value)?;
                }
                Err(unsupported(attribute, operator.as_str()))
            }
        }
    }

    /// By comparison of the leading characters: LIKE would give meaning to `%` and ignore case.
    fn starts_with(&mut self, attribute: &Attribute, negated: bool, prefix: String) {
        let length = i64::try_from(prefix.chars().count()).unwrap_or(i64::MAX);
        self.out.sql.push_str("substr(");
        self.single(attribute);
        let operator = if negated { "<>" } else { "=" };
        self.out.sql.push_str(&format!(", 1, ?) {operator} ?"));
        self.out.values.push(Bound::Integer(length));
        self.out.values.push(Bound::Text(prefix));
    }

    fn is_in(
        &mut self,
        attribute: &Attribute,
        negated: bool,
        values: &[Value],
    ) -> Result<(), FilterError> {
        use IndexedValueType as Type;
        let values = values
            .iter()
            .map(|value| bound(attribute, value))
            .collect::<Result<Vec<_>, _>>()?;
        match attribute.value_type {
            Type::KeywordList => self.any_of(attribute, negated, values),
            Type::Text => {
                let word = if negated { "NOT IN" } else { "IN" };
                return Err(unsupported(attribute, word));
            }
            _ => {
                self.single(attribute);
                let word = if negated { " NOT IN (" } else { " IN (" };
                self.out.sql.push_str(word);
                self.marks(values);
            }
        }
        Ok(())
    }

    fn between(
        &mut self,
        attribute: &Attribute,
        negated: bool,
        low: &Value,
        high: &Value,
    ) -> Result<(), FilterError> {
        use IndexedValueType as Type;
        let word = if negated { "NOT BETWEEN" } else { "BETWEEN" };
        if !matches!(
            attribute.value_type,
            Type::Keyword | Type::Int | Type::Double | Type::Datetime
        ) {
            return Err(unsupported(attribute, word));
        }
        let (low, high) = (bound(attribute, low)?, bound(attribute, high)?);
        self.single(attribute);
        self.out.sql.push_str(&format!(" {word} ? AND ?"));
        self.out.values.extend([low, high]);
        Ok(())
    }

    /// One value: NULL if the run has none.
    fn single(&mut self, attribute: &Attribute) {
        match attribute.place {
            Place::Column(column) => self.out.sql.push_str(column),
            Place::Member => {
                self.out.sql.push_str("json_extract(attributes, ?)");
                self.out.values.push(path(attribute));
            }
        }
    }

    /// A list, or a text's words, that holds any of `values`; the negation holds for runs without the attribute too.
    fn any_of(&mut self, attribute: &Attribute, negated: bool, values: Vec<Bound>) {
        if negated {
            self.out.sql.push_str("NOT ");
        }
        self.out
            .sql
            .push_str("EXISTS (SELECT 1 FROM json_each(attributes, ?) WHERE value IN (");
        self.out.values.push(path(attribute));
        self.marks(values);
        self.out.sql.push(')');
    }

    fn marks(&mut self, values: Vec<Bound>) {
        let marks = vec!["?"; values.len()].join(", ");
        self.out.sql.push_str(&marks);
        self.out.sql.push(')');
        self.out.values.extend(values);
    }
}

/// The place in the JSON. Names with quotes cannot be written there and find nothing.
fn path(attribute: &Attribute) -> Bound {
    Bound::Text(format!("$.\"{}\"", attribute.name.replace('"', "")))
}

/// A value as it is stored.
fn bound(attribute: &Attribute, value: &Value) -> Result<Bound, FilterError> {
    use IndexedValueType as Type;
    if let Value::Word(word) = value {
        return Err(FilterError::Unsupported(format!(
            "column name on the right side of comparison expression (did you forget to quote \"{word}\"?)"
        )));
    }
    if attribute.name == EXECUTION_STATUS {
        return status(value);
    }
    match (attribute.value_type, value) {
        (Type::Keyword | Type::KeywordList | Type::Text, Value::Text(text)) => {
            Ok(Bound::Text(text.clone()))
        }
        (Type::Int, Value::Number(number)) => number
            .parse()
            .map(Bound::Integer)
            .map_err(|_| wrong_type(attribute, value)),
        (Type::Double, Value::Number(number)) => number
            .parse()
            .map(Bound::Real)
            .map_err(|_| wrong_type(attribute, value)),
        (Type::Bool, Value::Bool(flag)) => Ok(Bound::Integer(i64::from(*flag))),
        (Type::Datetime, Value::Text(text)) => text
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
            .map(Bound::Integer)
            .ok_or_else(|| FilterError::Expression(format!("unable to parse datetime '{text}'"))),
        (Type::Datetime, Value::Number(nanos)) => nanos
            .parse()
            .map(Bound::Integer)
            .map_err(|_| wrong_type(attribute, value)),
        _ => Err(wrong_type(attribute, value)),
    }
}

/// By name, by the name in the API, or by number.
fn status(value: &Value) -> Result<Bound, FilterError> {
    let text = match value {
        Value::Text(text) | Value::Number(text) | Value::Word(text) => text.as_str(),
        Value::Bool(_) => "",
    };
    let found = STATUSES.iter().find(|(name, status)| match value {
        Value::Number(number) => *number == (*status as i32).to_string(),
        _ => text == *name || text == api_name(name),
    });
    match found {
        Some((_, status)) => Ok(Bound::Integer(i64::from(*status as i32))),
        None => Err(FilterError::Expression(format!(
            "invalid {EXECUTION_STATUS} value '{text}'"
        ))),
    }
}

/// `TimedOut` as `WORKFLOW_EXECUTION_STATUS_TIMED_OUT`.
fn api_name(name: &str) -> String {
    let mut out = "WORKFLOW_EXECUTION_STATUS".to_owned();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

fn wrong_type(attribute: &Attribute, value: &Value) -> FilterError {
    let (shown, kind) = match value {
        Value::Text(text) | Value::Word(text) => (format!("{text:?}"), "string"),
        Value::Number(number) if number.contains(['.', 'e', 'E']) => (number.clone(), "float64"),
        Value::Number(number) => (number.clone(), "int64"),
        Value::Bool(flag) => (flag.to_string(), "bool"),
    };
    FilterError::Expression(format!(
        "invalid value type for search attribute {} of type {:?}: {shown} (type: {kind})",
        attribute.name, attribute.value_type
    ))
}

fn unsupported(attribute: &Attribute, operator: &str) -> FilterError {
    FilterError::Unsupported(format!(
        "operator '{operator}' not supported for {:?} type search attribute '{}'",
        attribute.value_type, attribute.name
    ))
}

#[cfg(test)]
mod tests {
    use super::super::filter::parse;
    use super::*;

    fn refused(text: &str) -> String {
        let query = parse(text).unwrap();
        condition(&query.filter.unwrap(), &BTreeMap::new())
            .unwrap_err()
            .to_string()
    }

    /// The words as recorded from Temporal.
    #[test]
    fn what_makes_no_sense_is_refused_in_known_words() {
        assert_eq!(
            refused("WorkflowType"),
            "invalid query: invalid expression: incomplete expression"
        );
        assert_eq!(
            refused("NoSuchThing = \"x\""),
            "invalid query: invalid search attribute: NoSuchThing"
        );
        assert_eq!(
            refused("WorkflowType = x"),
            "invalid query: operation is not supported: column name on the right side of comparison expression (did you forget to quote \"x\"?)"
        );
        assert_eq!(
            refused("WorkflowType LIKE 'x%'"),
            "invalid query: operation is not supported: operator 'LIKE' not supported for Keyword type search attribute 'WorkflowType'"
        );
        assert_eq!(
            refused("StartTime > \"yesterday\""),
            "invalid query: invalid expression: unable to parse datetime 'yesterday'"
        );
        assert_eq!(
            refused("StartTime STARTS_WITH '2024'"),
            "invalid query: invalid expression: unable to parse datetime '2024'"
        );
        assert_eq!(
            refused("ExecutionStatus = \"Sleeping\""),
            "invalid query: invalid expression: invalid ExecutionStatus value 'Sleeping'"
        );
        assert_eq!(
            refused("HistoryLength = 'many'"),
            "invalid query: invalid expression: invalid value type for search attribute HistoryLength of type Int: \"many\" (type: string)"
        );
        assert_eq!(
            refused("1 = 1"),
            "invalid query: invalid expression: must be a column name but was *sqlparser.SQLVal"
        );
    }

    #[test]
    fn values_are_bound() {
        let query = parse("WorkflowId = '; DROP' AND ExecutionStatus IN ('TimedOut', 2)").unwrap();
        let condition = condition(&query.filter.unwrap(), &BTreeMap::new()).unwrap();
        assert_eq!(condition.sql, "(workflow_id = ? AND status IN (?, ?))");
        assert_eq!(
            condition.values,
            [
                Bound::Text("; DROP".to_owned()),
                Bound::Integer(7),
                Bound::Integer(2)
            ]
        );
    }
}
