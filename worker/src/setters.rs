//! Setters of the calls that workflows and clients build: each sets one field of the request that the call holds.

/// `name(argument: Type) => field = value;` within `setters! { holder: .. }` is a method `name` that sets `self.holder.field`.
macro_rules! setters {
    ($holder:ident: $($(#[$meta:meta])* $name:ident($argument:ident: $type:ty) => $($field:ident).+ = $value:expr;)*) => {$(
        $(#[$meta])*
        pub fn $name(mut self, $argument: $type) -> Self {
            self.$holder.$($field).+ = $value;
            self
        }
    )*};
}

pub(crate) use setters;
