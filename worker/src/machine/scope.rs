//! Cancellation scopes of a run: a tree, with the workflow itself as its root.
//!
//! Every step belongs to the scope of the context that it was begun with. Cancelling a scope cancels its open steps and the
//! scopes below it, but for shielded ones, which only go down when they are cancelled themselves. A step that is begun in a
//! cancelled scope is cancelled from the start. Nothing of this is in history: it follows from what the code does.

/// Numbers scopes in the order in which code opens them.
pub(crate) type ScopeId = usize;

/// The workflow's own scope: cancelled when the workflow is asked to cancel.
pub(crate) const ROOT: ScopeId = 0;
/// The scope of all that must happen in any case. Nobody can cancel it.
pub(crate) const SHIELDED: ScopeId = 1;

struct Scope {
    /// None for one that does not go down with another.
    parent: Option<ScopeId>,
    is_cancelled: bool,
}

pub(crate) struct Scopes {
    all: Vec<Scope>,
}

impl Default for Scopes {
    fn default() -> Self {
        let open = || Scope {
            parent: None,
            is_cancelled: false,
        };
        Self {
            all: vec![open(), open()],
        }
    }
}

impl Scopes {
    pub fn open(&mut self, within: ScopeId, is_shielded: bool) -> ScopeId {
        let parent = (!is_shielded).then_some(within);
        let is_cancelled = parent.is_some_and(|parent| self.is_cancelled(parent));
        self.all.push(Scope {
            parent,
            is_cancelled,
        });
        self.all.len() - 1
    }

    pub fn is_cancelled(&self, scope: ScopeId) -> bool {
        self.all[scope].is_cancelled
    }

    /// Gives the scopes that are cancelled now and were not before.
    pub fn cancel(&mut self, scope: ScopeId) -> Vec<ScopeId> {
        let mut cancelled = Vec::new();
        if scope == SHIELDED || self.is_cancelled(scope) {
            return cancelled;
        }
        self.all[scope].is_cancelled = true;
        cancelled.push(scope);
        // A scope is always younger than its parent: one pass finds all below.
        for id in scope + 1..self.all.len() {
            let goes_down = self.all[id]
                .parent
                .is_some_and(|parent| cancelled.contains(&parent));
            if goes_down && !self.all[id].is_cancelled {
                self.all[id].is_cancelled = true;
                cancelled.push(id);
            }
        }
        cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_takes_those_below_with_it_but_not_shielded_ones() {
        let mut scopes = Scopes::default();
        let outer = scopes.open(ROOT, false);
        let inner = scopes.open(outer, false);
        let shielded = scopes.open(outer, true);
        let beside = scopes.open(ROOT, false);
        assert_eq!(scopes.cancel(outer), [outer, inner]);
        assert!(!scopes.is_cancelled(shielded) && !scopes.is_cancelled(beside));
        let late = scopes.open(inner, false);
        assert!(scopes.is_cancelled(late));
        assert_eq!(scopes.cancel(ROOT), [ROOT, beside]);
        assert!(scopes.cancel(SHIELDED).is_empty());
    }
}
