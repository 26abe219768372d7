//! A bounded cache of what was verified, such as a token: shared by all workers and read without a lock.
//!
//! Each digest has a place in one small group of slots. A new entry replaces the one of its group that expires first, so nothing is
//! ever moved, and the memory never grows.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;

use crate::key::KeyHasher;
use crate::rng::Rng;

/// Slots of a group. With four, a cache that gets as many entries as it has slots keeps about four fifths of them.
const GROUP: usize = 4;

/// The SHA-256 digest by which an entry is found.
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// A cache. `T` is what was found out, `Time` a point in time: monotonic, or of the wall clock.
pub(super) struct Verified<T, Time> {
    slots: Box<[ArcSwapOption<Entry<T, Time>>]>,
    /// Makes the digests of this process different from those of every other one.
    salt: Digest,
    /// The same for quick ones.
    hasher: KeyHasher,
}

struct Entry<T, Time> {
    digest: Digest,
    expires: Time,
    value: T,
}

impl<T: Clone, Time: Copy + Ord> Verified<T, Time> {
    /// An empty cache for at least `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        let slots = capacity.next_multiple_of(GROUP).max(GROUP);
        Self {
            slots: std::iter::repeat_with(ArcSwapOption::empty).take(slots).collect(),
            salt: salt(),
            hasher: KeyHasher::seeded(Rng::fresh().bits()),
        }
    }

    /// The digest of these parts. Parts that are divided differently have another digest.
    pub(super) fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.salt);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        bytes_of(&context.finish())
    }

    /// A digest that is made faster. Others may have the same one, also on purpose: whoever uses it compares what it finds with what it
    /// looked for.
    pub(super) fn quick_digest(&self, bytes: &[u8]) -> Digest {
        let mut digest = Digest::default();
        if let Some(first) = digest.first_chunk_mut() {
            *first = self.hasher.hash(bytes).to_be_bytes();
        }
        digest
    }

    /// What was found out under this digest, unless it has expired.
    pub(super) fn get(&self, digest: &Digest, now: Time) -> Option<T> {
        for slot in self.group(digest) {
            let guard = slot.load();
            if let Some(entry) = guard.as_deref()
                && entry.digest == *digest
            {
                return (now < entry.expires).then(|| entry.value.clone());
            }
        }
        None
    }

    /// Keeps what was found out until it expires, or until others need its place.
    pub(super) fn insert(&self, digest: Digest, value: T, expires: Time) {
        let group = self.group(&digest);
        let same = group.iter().find(|slot| {
            let guard = slot.load();
            guard.as_deref().is_some_and(|entry| entry.digest == digest)
        });
        // `None`, an empty slot, is less than every time.
        let first = || {
            group
                .iter()
                .min_by_key(|slot| slot.load().as_deref().map(|entry| entry.expires))
        };
        if let Some(slot) = same.or_else(first) {
            slot.store(Some(Arc::new(Entry {
                digest,
                expires,
                value,
            })));
        }
    }

    fn group(&self, digest: &Digest) -> &[ArcSwapOption<Entry<T, Time>>] {
        let groups = self.slots.len() / GROUP;
        let bits = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let start = usize::try_from(bits).unwrap_or_default() % groups.max(1) * GROUP;
        self.slots.get(start..start + GROUP).unwrap_or_default()
    }
}

impl<T, Time> fmt::Debug for Verified<T, Time> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("capacity", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// The SHA-256 digest of `data`.
pub(super) fn sha256(data: &[u8]) -> Digest {
    bytes_of(&digest::digest(&digest::SHA256, data))
}

fn bytes_of(digest: &digest::Digest) -> Digest {
    digest.as_ref().try_into().unwrap_or_default()
}

/// Bytes that nobody outside this process can know: outputs of SipHash under a random key.
fn salt() -> Digest {
    let mut salt = Digest::default();
    for (index, bytes) in salt.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = RandomState::new().hash_one(index).to_be_bytes();
    }
    salt
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_found_until_it_expires() {
        let cache = Verified::new(8);
        let digest = cache.digest(&[b"token"]);
        assert_eq!(cache.get(&digest, 0), None);
        cache.insert(digest, "alice", 10);
        assert_eq!(cache.get(&digest, 9), Some("alice"));
        assert_eq!(cache.get(&digest, 10), None);
        cache.insert(digest, "bob", 5);
        assert_eq!(
            cache.get(&digest, 4),
            Some("bob"),
            "the newer entry replaces the older"
        );
        assert_eq!(cache.get(&digest, 5), None);
    }

    #[test]
    fn a_full_group_gives_up_the_entry_that_expires_first() {
        let cache = Verified::new(GROUP);
        let digests: Vec<_> = (0_u8..5).map(|index| cache.digest(&[&[index]])).collect();
        for (digest, expires) in digests.iter().zip([30, 10, 20, 40, 50]) {
            cache.insert(*digest, (), expires);
        }
        let kept: Vec<_> = digests
            .iter()
            .map(|digest| cache.get(digest, 0).is_some())
            .collect();
        assert_eq!(kept, [true, false, true, true, true]);
    }

    #[test]
    fn the_memory_is_bounded() {
        let cache = Verified::new(100);
        for index in 0_u32..10_000 {
            cache.insert(cache.digest(&[&index.to_be_bytes()]), index, 1);
        }
        let full = cache.slots.iter().filter(|slot| slot.load().is_some()).count();
        assert!(full <= 100 && full > 90, "{full}");
    }

    #[test]
    fn digests_depend_on_the_division_into_parts_and_on_the_cache() {
        let cache = Verified::<(), u8>::new(1);
        assert_ne!(cache.digest(&[b"ab", b"c"]), cache.digest(&[b"a", b"bc"]));
        assert_ne!(cache.digest(&[b"a"]), cache.digest(&[b"a", b""]));
        let other = Verified::<(), u8>::new(1);
        assert_ne!(cache.digest(&[b"a"]), other.digest(&[b"a"]));
    }

    #[test]
    fn quick_digests_depend_on_all_bytes_and_on_the_cache() {
        let (cache, other) = (Verified::<(), u8>::new(1), Verified::<(), u8>::new(1));
        let token = "a".repeat(200);
        let digest = cache.quick_digest(token.as_bytes());
        assert_eq!(digest, cache.quick_digest(token.as_bytes()));
        assert_ne!(digest, other.quick_digest(token.as_bytes()));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = b'b';
            assert_ne!(digest, cache.quick_digest(&changed), "{at}");
        }
    }

    proptest! {
        /// Whatever happened before, a digest finds only its own value, and never one that has expired.
        #[test]
        fn finds_only_what_was_inserted(steps in proptest::collection::vec((0_u8..32, 0_u8..20), 0..200)) {
            let cache = Verified::new(16);
            let mut latest = std::collections::HashMap::new();
            for (now, (name, life)) in (0_u32..).zip(steps) {
                let digest = cache.digest(&[&[name]]);
                if let Some(found) = cache.get(&digest, now) {
                    let (value, expires) = latest[&name];
                    prop_assert_eq!(found, value);
                    prop_assert!(now < expires);
                }
                cache.insert(digest, now, now + u32::from(life));
                latest.insert(name, (now, now + u32::from(life)));
            }
        }
    }
}
