//! What a plan changes of one request and of its response, and what its policies found out. Exists only for requests of routes
//! with a plan.

use std::borrow::Cow;

use evenkeel_balance::action::MARK;
use evenkeel_balance::edits::{Direction, HeaderEdits, is_same_name};
use evenkeel_balance::policy::{Edit, Notes};
use evenkeel_balance::rewrite::Rewritten;
use evenkeel_balance::template::Variables;

use super::{Failure, Plan};
use crate::head::ResponseHead;

/// The header that tells the backend which prefix of the path was removed.
const PREFIX: &str = "X-Forwarded-Prefix";

/// The changes of one request.
pub(super) struct Changes<'a> {
    pub(super) plan: &'a Plan,
    /// The router's index of the route.
    pub(super) route: usize,
    /// What its policies found out; `None` where there is none that decides.
    pub(super) notes: Option<Box<Notes>>,
    /// The path for the backend, if it is another one.
    pub(super) path: Option<Vec<u8>>,
    removed_prefix: Option<&'a str>,
    /// The index of the pool that gets a copy, once the body is there.
    pub(super) mirror: Option<usize>,
}

/// One change of a header, with its value.
#[derive(Debug)]
pub(super) struct HeaderChange<'a> {
    name: Cow<'a, str>,
    /// The value of the new header; `None` when there is none.
    value: Option<Cow<'a, [u8]>>,
    /// Whether the headers with its name that were there before are removed.
    removes: bool,
    /// Whether the value may be a secret.
    is_secret: bool,
}

/// The changes of the head of a request to one backend.
#[derive(Debug)]
pub(super) struct RequestChanges<'a> {
    /// The path, if it is another one.
    pub(super) path: Option<&'a [u8]>,
    /// The host, if it is another one.
    pub(super) authority: Option<Box<[u8]>>,
    pub(super) headers: HeaderChanges<'a>,
}

/// The changes of the headers of one message.
#[derive(Debug, Default)]
pub(super) struct HeaderChanges<'a> {
    /// Those of the config, which also remove headers.
    edits: Option<&'a HeaderEdits>,
    /// Those of policies, and the headers that the config adds.
    list: Vec<HeaderChange<'a>>,
    /// The headers that the config adds, where they are not in the list. They follow it. None has a variable, so that most routes
    /// need no list.
    literals: Option<&'a HeaderEdits>,
    /// Whether the length of the body is not announced, in a response that has none.
    pub(super) hides_length: bool,
}

impl<'a> Changes<'a> {
    /// Nothing is changed yet; `notes` are empty.
    #[inline]
    pub(super) fn new(plan: &'a Plan, route: usize, notes: Option<Box<Notes>>) -> Self {
        Self {
            plan,
            route,
            notes,
            path: None,
            removed_prefix: None,
            mirror: None,
        }
    }

    /// The user that a policy has found.
    pub(super) fn user(&self) -> Option<&[u8]> {
        self.notes.as_ref()?.user.as_deref().map(str::as_bytes)
    }

    /// Whether anything may differ in the head for a backend.
    #[inline]
    pub(super) fn affect_request(&self) -> bool {
        let Plan {
            rewrite,
            request_headers,
            mirror,
            ..
        } = self.plan;
        rewrite.is_some()
            || request_headers.is_some()
            || mirror.is_some()
            || self
                .notes
                .as_ref()
                .is_some_and(|notes| !notes.request_headers.is_empty())
    }

    /// Whether anything may differ in the head of the response.
    #[inline]
    pub(super) fn affect_response(&self) -> bool {
        self.plan.response_headers.is_some()
            || self
                .notes
                .as_ref()
                .is_some_and(|notes| !notes.response_headers.is_empty())
            || self.plan.compression().is_some()
    }

    /// Rewrites the path.
    ///
    /// # Errors
    /// The result is not a path.
    #[inline]
    pub(super) fn rewrite(&mut self, path: &[u8]) -> Result<(), Failure> {
        let Some(rewrite) = &self.plan.rewrite else {
            return Ok(());
        };
        let mut out = Vec::with_capacity(path.len() + 32);
        match rewrite.path(path, &mut out) {
            Ok(Rewritten::Same) => {}
            Ok(Rewritten::Changed { removed_prefix }) => {
                self.path = Some(out);
                self.removed_prefix = removed_prefix;
            }
            Err(_) => return Err(Failure::RewriteInvalidPath),
        }
        Ok(())
    }

    /// The mark of a copy, which is removed: only a trusted proxy may say that a request is one; backends may treat copies
    /// differently.
    #[inline]
    pub(super) fn without_mark(&self, is_trusted: bool) -> Option<HeaderChange<'a>> {
        let is_removed = self.plan.mirror.is_some() && !is_trusted;
        is_removed.then(|| HeaderChange {
            name: MARK.0.into(),
            value: None,
            removes: true,
            is_secret: false,
        })
    }

    /// The names of the headers of the request that policies and the route set or remove.
    pub(super) fn removed_from_request(&self, is_trusted: bool) -> impl Iterator<Item = &[u8]> {
        let policies = self.notes.iter().flat_map(|notes| &notes.request_headers);
        let policies = policies.filter(|edit| edit.removes());
        let edits = self.plan.request_headers.iter().flat_map(HeaderEdits::removed);
        let mark = (self.plan.mirror.is_some() && !is_trusted).then_some(MARK.0.as_bytes());
        policies
            .map(|edit| edit.name().as_bytes())
            .chain(edits)
            .chain(mark)
    }

    /// The header that tells the backend which prefix of the path was removed, if one was.
    #[inline]
    pub(super) fn prefix(&self) -> Option<HeaderChange<'a>> {
        self.removed_prefix.map(|prefix| HeaderChange {
            name: PREFIX.into(),
            value: Some(prefix.as_bytes().into()),
            removes: true,
            is_secret: false,
        })
    }
}

impl<'a> HeaderChanges<'a> {
    /// Those of the config, whose values have variables, after this list of others.
    #[inline]
    pub(super) fn new<V: Variables>(
        edits: Option<&'a HeaderEdits>,
        mut list: Vec<HeaderChange<'a>>,
        variables: impl FnOnce() -> V,
    ) -> Self {
        let edits = edits.filter(|edits| !edits.is_empty());
        if let Some(edits) = edits {
            // The config has the last word on what policies set.
            let replaced = list
                .iter_mut()
                .filter(|change| edits.removes(change.name.as_bytes()));
            replaced.for_each(|change| change.value = None);
            if edits.is_literal() {
                return Self {
                    edits: Some(edits),
                    list,
                    literals: Some(edits),
                    hides_length: false,
                };
            }
            list.reserve_exact(edits.len());
            edits.write(variables, &mut Vec::new(), |name, value, is_secret| {
                list.push(HeaderChange {
                    name: name.into(),
                    value: Some(value.into_cow()),
                    removes: false,
                    is_secret,
                });
            });
        }
        Self {
            edits,
            list,
            ..Self::default()
        }
    }

    /// This one alone.
    pub(super) fn only(change: HeaderChange<'a>) -> Self {
        Self {
            list: vec![change],
            ..Self::default()
        }
    }

    /// Adds a header of our own, whatever the config removes.
    pub(super) fn add(&mut self, change: HeaderChange<'a>) {
        self.list_literals();
        self.list.push(change);
    }

    /// Makes one more change of a response, after all that were made so far.
    pub(super) fn apply(&mut self, edit: &Edit) {
        self.list_literals();
        if edit.removes() {
            let name = edit.name().as_bytes();
            for change in &mut self.list {
                if is_same_name(Direction::Response, change.name.as_bytes(), name) {
                    change.value = None;
                }
            }
        }
        self.list.push(HeaderChange::of(edit).into_owned());
    }

    /// Moves all headers of the config into the list, so that they stand before others and can be changed.
    fn list_literals(&mut self) {
        let literals = self.literals.take().into_iter();
        let changes = literals.flat_map(HeaderEdits::literals);
        self.list.extend(changes.map(|(name, value)| HeaderChange {
            name: name.into(),
            value: Some(value.into()),
            removes: false,
            is_secret: false,
        }));
    }

    /// The changes of this response as a list: what is removed of what it has, and what is added.
    pub(super) fn edits_of(&self, head: &ResponseHead, bytes: &[u8]) -> Vec<Edit> {
        let names = head.fields.iter().map(|field| field.name.of(bytes));
        let removed = names
            .filter(|name| self.removes(Direction::Response, name))
            .map(|name| Edit::Remove(String::from_utf8_lossy(name).into()));
        let added = self
            .added()
            .map(|(name, value, _)| Edit::Add(String::from_utf8_lossy(name).into(), value.into()));
        removed.chain(added).collect()
    }

    /// Whether a header of the message itself is left out.
    pub(super) fn removes(&self, direction: Direction, name: &[u8]) -> bool {
        let mut removing = self.list.iter().filter(|change| change.removes);
        self.edits.is_some_and(|edits| edits.removes(name))
            || removing.any(|change| is_same_name(direction, change.name.as_bytes(), name))
    }

    /// The names of the headers of the message itself that are left out.
    pub(super) fn removed(&self) -> impl Iterator<Item = &[u8]> {
        let removing = self.list.iter().filter(|change| change.removes);
        let edits = self.edits.into_iter().flat_map(HeaderEdits::removed);
        edits.chain(removing.map(|change| change.name.as_bytes()))
    }

    /// The headers that are added: name, value, and whether it may be a secret.
    pub(super) fn added(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        let literals = self.literals.into_iter().flat_map(HeaderEdits::literals);
        self.listed()
            .chain(literals.map(|(name, value)| (name.as_bytes(), value, false)))
    }

    /// Those of them before the headers of [`Self::literals`].
    #[inline]
    pub(super) fn listed(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.list.iter().filter_map(|change| {
            let value = change.value.as_deref()?;
            Some((change.name.as_bytes(), value, change.is_secret))
        })
    }

    /// The headers that the config adds, where they are not in the list.
    #[inline]
    pub(super) fn literals(&self) -> Option<&'a HeaderEdits> {
        self.literals
    }
}

impl<'a> HeaderChange<'a> {
    /// One more header, which may be a secret.
    pub(super) fn added(name: &'static str, value: Box<[u8]>) -> Self {
        Self {
            name: name.into(),
            value: Some(value.into_vec().into()),
            removes: false,
            is_secret: true,
        }
    }

    /// That of a policy.
    pub(super) fn of(edit: &'a Edit) -> Self {
        Self {
            name: edit.name().into(),
            value: edit.value().map(Into::into),
            removes: edit.removes(),
            is_secret: false,
        }
    }

    /// The same change, which outlives what it was made from.
    pub(super) fn into_owned(self) -> HeaderChange<'static> {
        HeaderChange {
            name: self.name.into_owned().into(),
            value: self.value.map(|value| value.into_owned().into()),
            removes: self.removes,
            is_secret: self.is_secret,
        }
    }
}
