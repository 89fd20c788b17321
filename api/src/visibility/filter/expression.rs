//! A filter as a tree. Names and values are as written: what they mean depends on the namespace's attributes.

/// A whole query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// All runs if there is none.
    pub filter: Option<Expression>,
    pub group_by: Vec<String>,
    pub order_by: Vec<String>,
    pub has_limit: bool,
}

/// What a run must fulfil.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Compare {
        attribute: String,
        operator: Operator,
        value: Value,
    },
    In {
        attribute: String,
        negated: bool,
        values: Vec<Value>,
    },
    Between {
        attribute: String,
        negated: bool,
        low: Value,
        high: Value,
    },
    IsNull {
        attribute: String,
        negated: bool,
    },
    /// An attribute where a condition should be.
    Bare,
    /// A value where an attribute should be.
    NoAttribute,
}

/// How an attribute is compared with one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    NotStartsWith,
    Like,
    NotLike,
}

impl Operator {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::StartsWith => "STARTS_WITH",
            Self::NotStartsWith => "NOT STARTS_WITH",
            Self::Like => "LIKE",
            Self::NotLike => "NOT LIKE",
        }
    }
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    /// As written.
    Number(String),
    Bool(bool),
    /// A word without quotes.
    Word(String),
}

impl Expression {
    /// `attribute operator 'text'`, for filters that are not written.
    pub fn compare(attribute: &str, operator: Operator, value: Value) -> Self {
        Self::Compare {
            attribute: attribute.to_owned(),
            operator,
            value,
        }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    /// Whether the attribute occurs anywhere.
    pub fn mentions(&self, name: &str) -> bool {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.mentions(name) || right.mentions(name)
            }
            Self::Not(inner) => inner.mentions(name),
            Self::Compare { attribute, .. }
            | Self::In { attribute, .. }
            | Self::Between { attribute, .. }
            | Self::IsNull { attribute, .. } => attribute == name,
            Self::Bare | Self::NoAttribute => false,
        }
    }
}
