//! State that outlives a reload, by identity: what the new config asks for under the same type and name is the same value. Knows
//! nothing about what it keeps.
//!
//! A reload begins with [`Kept::next`] and asks the builder for everything that it needs. When the reload is activated,
//! [`KeptBuilder::finish`] replaces the previous state, and what nobody asked for is dropped. When it fails, the builder is dropped, and
//! the previous state is as it was.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Two types under one name are two identities.
type Identity = (TypeId, String);
type Values = HashMap<Identity, Arc<dyn Any + Send + Sync>>;

/// The state that the active config uses. Owned by the control plane; a clone shares the values.
#[derive(Clone, Default)]
pub struct Kept(Arc<Values>);

/// The state of a config that is not active yet. Holds as many values as that config asks for.
pub struct KeptBuilder {
    previous: Kept,
    values: Values,
}

impl Kept {
    /// Begins the state of the next config.
    pub fn next(&self) -> KeptBuilder {
        KeptBuilder {
            previous: self.clone(),
            values: Values::new(),
        }
    }

    /// The value of this type and name; `None` when the config did not ask for it.
    pub fn get<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        typed(self.0.get(&identity::<T>(name)))
    }

    /// The names of all values; a name comes once for each type.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(_, name)| &**name)
    }

    /// The names of the values that `next` does not have, so that they are dropped when it replaces this state. Sorted; a name comes
    /// once for each type.
    pub fn missing_in<'k>(&'k self, next: &Self) -> Vec<&'k str> {
        let missing = self.0.keys().filter(|identity| !next.0.contains_key(*identity));
        let mut names: Vec<&str> = missing.map(|(_, name)| &**name).collect();
        names.sort_unstable();
        names
    }
}

impl KeptBuilder {
    /// The value of this type and name: the one of the previous config, or one that `make` makes. Asking again returns the same
    /// value. A name begins with the kind of what it belongs to: `pool/api`.
    pub fn get_or_insert<T: Any + Send + Sync>(&mut self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let asked = typed(self.values.get(&identity::<T>(name)));
        let value = asked
            .or_else(|| self.previous.get(name))
            .unwrap_or_else(|| Arc::new(make()));
        let kept: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&value);
        self.values.insert(identity::<T>(name), kept);
        value
    }

    /// The value of this type and name that comes after the one of the previous config. That one stays as it is, because the next
    /// config may fail: what configs change, and not requests, is kept in this way. Asking again goes on from the value that was made
    /// last.
    pub fn follow<T: Any + Send + Sync>(
        &mut self,
        name: &str,
        next: impl FnOnce(Option<&Arc<T>>) -> Arc<T>,
    ) -> Arc<T> {
        let asked = typed(self.values.get(&identity::<T>(name)));
        let value = next(asked.or_else(|| self.previous.get(name)).as_ref());
        let kept: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(&value);
        self.values.insert(identity::<T>(name), kept);
        value
    }

    /// The state to replace the previous one with, now that the config is active.
    pub fn finish(self) -> Kept {
        Kept(Arc::new(self.values))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.0.keys().map(|(_, name)| name))
            .finish()
    }
}

impl fmt::Debug for KeptBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.values.keys().map(|(_, name)| name))
            .finish()
    }
}

fn identity<T: Any>(name: &str) -> Identity {
    (TypeId::of::<T>(), name.to_owned())
}

fn typed<T: Any + Send + Sync>(value: Option<&Arc<dyn Any + Send + Sync>>) -> Option<Arc<T>> {
    Arc::clone(value?).downcast().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counter(AtomicU32);

    #[derive(Debug, Default)]
    struct Other;

    /// The state of a config that asks for counters with these names.
    fn after(previous: &Kept, names: &[&str]) -> Kept {
        let mut next = previous.next();
        for name in names {
            next.get_or_insert(name, Counter::default);
        }
        next.finish()
    }

    #[test]
    fn a_value_outlives_a_reload_that_asks_for_it() {
        let first = after(&Kept::default(), &["pool/a", "pool/b"]);
        let before = first.get::<Counter>("pool/a").unwrap();
        before.0.store(7, Ordering::Relaxed);
        let second = after(&first, &["pool/a"]);
        let now = second.get::<Counter>("pool/a").unwrap();
        assert!(Arc::ptr_eq(&before, &now));
        assert_eq!(now.0.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn what_a_config_does_not_ask_for_is_dropped_once_it_is_active() {
        let first = after(&Kept::default(), &["pool/a", "pool/b"]);
        let dropped = Arc::downgrade(&first.get::<Counter>("pool/b").unwrap());
        let second = after(&first, &["pool/a"]);
        assert!(second.get::<Counter>("pool/b").is_none());
        assert!(dropped.upgrade().is_some(), "the first config is still active");
        drop(first);
        assert!(dropped.upgrade().is_none());
    }

    #[test]
    fn a_failed_reload_leaves_everything_as_it_was() {
        let first = after(&Kept::default(), &["pool/a", "pool/b"]);
        let b = first.get::<Counter>("pool/b").unwrap();
        let mut failed = first.next();
        let made = Arc::downgrade(&failed.get_or_insert("pool/c", Counter::default));
        failed.get_or_insert("pool/a", Counter::default);
        drop(failed);
        assert!(made.upgrade().is_none());
        assert!(first.get::<Counter>("pool/c").is_none());
        let second = after(&first, &["pool/b"]);
        assert!(Arc::ptr_eq(&b, &second.get::<Counter>("pool/b").unwrap()));
    }

    #[test]
    fn a_value_that_follows_another_takes_its_place_only_with_its_config() {
        let count = |next: &mut KeptBuilder| {
            let value = next.follow("limit", |before: Option<&Arc<u32>>| {
                Arc::new(before.map_or(0, |count| **count) + 1)
            });
            *value
        };
        let mut first = Kept::default().next();
        assert_eq!((count(&mut first), count(&mut first)), (1, 2));
        let first = first.finish();
        let mut failed = first.next();
        assert_eq!(count(&mut failed), 3);
        drop(failed);
        assert_eq!(*first.get::<u32>("limit").unwrap(), 2);
        let mut second = first.next();
        assert_eq!(count(&mut second), 3);
        assert_eq!(*second.finish().get::<u32>("limit").unwrap(), 3);
    }

    #[test]
    fn what_the_next_state_does_not_have_is_named() {
        let first = after(&Kept::default(), &["pool/b", "pool/a", "pool/c"]);
        let mut next = Kept::default().next();
        next.get_or_insert("pool/a", Other::default);
        next.get_or_insert("pool/b", Counter::default);
        assert_eq!(first.missing_in(&next.finish()), ["pool/a", "pool/c"]);
    }

    #[test]
    fn two_types_under_one_name_do_not_mix() {
        let mut next = Kept::default().next();
        let counter = next.get_or_insert("pool/a", Counter::default);
        next.get_or_insert("pool/a", Other::default);
        let again = next.get_or_insert("pool/a", Counter::default);
        assert!(Arc::ptr_eq(&counter, &again));
        let kept = next.finish();
        assert!(kept.get::<Counter>("pool/a").is_some() && kept.get::<Other>("pool/a").is_some());
        assert!(kept.get::<u32>("pool/a").is_none());
    }
}
