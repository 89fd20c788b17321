//! Names of enum values: `WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE`, or `RejectDuplicate` as older JSON has it.

use prost_reflect::EnumDescriptor;

/// The number of the value of this name.
pub(super) fn by_name(of: &EnumDescriptor, name: &str) -> Option<i32> {
    if let Some(value) = of.get_value_by_name(name) {
        return Some(value.number());
    }
    let long = format!("{}_{}", screaming_snake(of.name()), screaming_snake(name));
    of.get_value_by_name(&long).map(|value| value.number())
}

fn screaming_snake(name: &str) -> String {
    let mut long = String::with_capacity(name.len() + 8);
    let mut before_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && before_lower {
            long.push('_');
        }
        before_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        long.push(c.to_ascii_uppercase());
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptors::pool;

    #[test]
    fn both_spellings_are_known() {
        let of = pool()
            .get_enum_by_name("temporal.api.enums.v1.WorkflowIdReusePolicy")
            .unwrap();
        assert_eq!(
            by_name(&of, "WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE"),
            Some(3)
        );
        assert_eq!(by_name(&of, "RejectDuplicate"), Some(3));
        assert_eq!(by_name(&of, "SOMETIMES"), None);
    }
}
