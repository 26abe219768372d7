//! The backends of a pool that are eligible at one moment, and the strategies built for exactly that set. Immutable.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use evenkeel_balance::sticky::{Table, Value};

use super::{Member, Roster, Sticky};
use crate::backend::BackendId;
use crate::clock::Instant;
use crate::health::{Check, slow_start};
use crate::retry::{HoldOff, may_avoid};
use crate::strategy::{self, Candidate, Cursor, PickContext, Strategy};

/// The eligible backends of a pool, and the roster that they are from.
#[derive(Debug)]
pub struct EligibleSet {
    roster: Arc<Roster>,
    main: Tier,
    /// Used only when no backend of `main` may be picked.
    backup: Tier,
    /// The backends that get requests which no eligible one could be reached for. Usually there are none.
    reserve: Option<Box<Tier>>,
    /// The ejected backends that get trial requests. Usually there are none.
    on_trial: Vec<Arc<Member>>,
    hold_off: Arc<HoldOff>,
    /// For pools with `sticky`.
    sticky: Option<StickySet>,
    /// Whether its backends are ejected or down by their checks, and used because there are no others.
    is_open: bool,
    /// Why it is empty, once a request has asked: every request of an outage asks.
    outage: OnceLock<Box<str>>,
}

/// What finds the backend of a client that stays with it.
#[derive(Debug)]
enum StickySet {
    /// The values of cookies, by the indices of the roster.
    Cookie(Arc<Table>),
    /// Strategies for main backends and backups, which depend on the client alone.
    Header([Box<dyn Strategy>; 2]),
}

/// Whether backends that are down by their checks are used when there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailOpen {
    Yes,
    No,
}

/// The main backends or the backups, and the strategy built for them.
#[derive(Debug)]
struct Tier {
    candidates: Vec<Candidate>,
    members: Vec<Arc<Member>>,
    strategy: Box<dyn Strategy>,
}

/// What a pick for a further attempt depends on beside its [`PickContext`].
#[derive(Debug, Clone, Copy)]
pub struct Another<'m, 't> {
    /// The tried backends that have failed. The others may be picked again once all have been tried.
    pub failed: &'t [BackendId],
    /// The backend that was tried last, if it has not failed. It still counts this request as in flight, so the limit does not
    /// apply to it.
    pub last: Option<&'m Member>,
    /// Whether backups are used only when all other backends have failed.
    pub is_backup_last: bool,
    /// Whether a backend of the reserve may be picked when no eligible one is left that has not failed.
    pub is_reserve_useful: bool,
}

impl FailOpen {
    pub(super) fn of(check: &Check) -> Self {
        if check.fail_open { Self::Yes } else { Self::No }
    }
}

impl EligibleSet {
    pub(super) fn new(
        roster: &Arc<Roster>,
        strategy: &strategy::Settings,
        cursor: &Arc<Cursor>,
        fail_open: FailOpen,
        hold_off: &Arc<HoldOff>,
    ) -> Self {
        let all = |is_wanted: &dyn Fn(&Member) -> bool| -> Vec<Arc<Member>> {
            let members = roster.members().iter();
            members.filter(|member| is_wanted(member)).cloned().collect()
        };
        let mut members = all(&Member::is_eligible);
        let mut reserve = all(&Member::is_in_reserve);
        let has_eligible = !members.is_empty();
        if !has_eligible {
            members = std::mem::take(&mut reserve);
        }
        if members.is_empty() && fail_open == FailOpen::Yes {
            members = all(&|member| !member.is_excluded());
        }
        let is_open = !has_eligible && !members.is_empty();
        let (backup, main) = members.into_iter().partition(|member| member.is_backup());
        let tier = |members| Tier::new(members, strategy, cursor);
        Self {
            roster: Arc::clone(roster),
            main: tier(main),
            backup: tier(backup),
            reserve: (!reserve.is_empty()).then(|| Box::new(tier(reserve))),
            on_trial: all(&Member::is_on_trial),
            hold_off: Arc::clone(hold_off),
            sticky: None,
            is_open,
            outage: OnceLock::new(),
        }
    }

    /// Adds what a pool with `sticky` needs. The table of cookies is that of the `previous` set if the roster is the same.
    pub(super) fn stick(&mut self, sticky: &Sticky, previous: &Self, cursor: &Arc<Cursor>) {
        self.sticky = Some(match (sticky, &previous.sticky) {
            (Sticky::Cookie(_), Some(StickySet::Cookie(table)))
                if Arc::ptr_eq(&previous.roster, &self.roster) =>
            {
                StickySet::Cookie(Arc::clone(table))
            }
            (Sticky::Cookie(cookie), _) => StickySet::Cookie(cookie.table(&self.roster)),
            (Sticky::Header(_), _) => StickySet::Header(
                [&self.main, &self.backup].map(|tier| strategy::consistent(&tier.candidates, cursor)),
            ),
        });
    }

    /// A backend that was ejected and gets this request on trial; usually `None`. `is_repeatable`: whether another backend can be
    /// tried if it fails.
    #[inline]
    pub fn pick_trial(&self, is_repeatable: bool, in_flight_limit: Option<u32>) -> Option<&Member> {
        let takes = |member: &&Arc<Member>| {
            member.is_below(in_flight_limit) && member.health.signal().take_trial(is_repeatable)
        };
        self.on_trial.iter().find(takes).map(|member| &**member)
    }

    /// Picks a backend; `None` when no eligible one may be picked. One that refuses requests for now, or responds to none, is avoided
    /// as long as there is another.
    pub fn pick(&self, context: PickContext<'_>) -> Option<&Member> {
        let picked = self.main.pick(&context).or_else(|| self.backup.pick(&context));
        if self.hold_off.is_active(context.now)
            && picked.is_some_and(|member| self.is_held(member, context.now))
        {
            return self.pick_willing(&context).or(picked);
        }
        picked
    }

    /// Whether picks avoid a member for now.
    fn is_held(&self, member: &Member, now: Instant) -> bool {
        let held = [&member.not_before, &member.silent.until];
        held.into_iter().any(|held| self.hold_off.holds(held, now))
    }

    /// Picks a main backend that is not to be avoided for now.
    #[cold]
    fn pick_willing(&self, context: &PickContext<'_>) -> Option<&Member> {
        let members = &self.main.members;
        let is_held = |member: &&Arc<Member>| self.is_held(member, context.now);
        let held = members.iter().filter(is_held);
        let mut avoided: Vec<BackendId> = held.map(|member| member.backend.id).collect();
        if !may_avoid(avoided.len(), members.len()) {
            return None;
        }
        avoided.extend_from_slice(context.tried);
        avoided.sort_unstable();
        self.main.pick(&PickContext {
            tried: &avoided,
            ..*context
        })
    }

    /// Picks a backend for a further attempt; `None` when no eligible one may be picked.
    pub fn pick_another<'m>(
        &'m self,
        context: PickContext<'_>,
        another: Another<'m, '_>,
    ) -> Option<&'m Member> {
        let Another { failed, last, .. } = another;
        let without_failed = PickContext {
            tried: failed,
            ..context
        };
        let pick_main = || {
            let last_main = last.filter(|last| !last.is_backup());
            let untried = self.main.pick(&context);
            let main = untried.or_else(|| self.main.pick(&without_failed));
            main.or(last_main)
        };
        let main = another.is_backup_last.then(pick_main).flatten();
        let reserve = || {
            let reserve = self.reserve.as_ref().filter(|_| another.is_reserve_useful);
            reserve.and_then(|reserve| reserve.pick(&context))
        };
        main.or_else(|| self.pick(context))
            .or_else(|| self.pick(without_failed))
            .or_else(reserve)
            .or(last)
    }

    /// The backend that the value of a sticky cookie names, eligible or not.
    pub fn named(&self, value: &[u8]) -> Option<&Member> {
        let Some(StickySet::Cookie(table)) = &self.sticky else {
            return None;
        };
        let member = self.roster.members().get(table.find(value)?)?;
        Some(member)
    }

    /// Whether a member may get requests of clients that stay with it.
    pub fn may_keep_clients(&self, member: &Member) -> bool {
        member.may_keep_clients() || self.is_open && self.contains(member.backend.id)
    }

    /// The value of the sticky cookie that names this backend.
    pub fn cookie_value(&self, backend: BackendId) -> Option<&Value> {
        let Some(StickySet::Cookie(table)) = &self.sticky else {
            return None;
        };
        table.value(self.roster.position(backend)?)
    }

    /// Picks the eligible backend of the clients with this key, for pools that are sticky by a header; backups only when no other
    /// one may be picked.
    pub fn pick_sticky(&self, context: &PickContext<'_>) -> Option<&Member> {
        let Some(StickySet::Header([main, backup])) = &self.sticky else {
            return None;
        };
        let pick = |tier: &'_ Tier, strategy: &dyn Strategy| strategy.pick(&tier.candidates, context);
        let member = match pick(&self.main, &**main) {
            Some(index) => self.main.members.get(index),
            None => pick(&self.backup, &**backup).and_then(|index| self.backup.members.get(index)),
        };
        member.map(|member| &**member)
    }

    /// The eligible backends, each with what the pool's strategy would compare of it in a pick; backups are last. For explanations.
    pub fn scores(&self, context: &PickContext<'_>) -> Vec<(&Member, Option<f64>)> {
        let tiers = [&self.main, &self.backup];
        tiers.into_iter().flat_map(|tier| tier.scores(context)).collect()
    }

    /// Whether each eligible backend is one of these, which are in ascending order.
    pub fn is_within(&self, backends: &[BackendId]) -> bool {
        let mut members = self.main.members.iter().chain(&self.backup.members);
        self.len() <= backends.len() && members.all(|member| strategy::contains(backends, member.backend.id))
    }

    /// Whether its backends are all ejected or down, and used because there are no others.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether this backend is in the set.
    pub fn contains(&self, backend: BackendId) -> bool {
        let mut members = self.main.members.iter().chain(&self.backup.members);
        members.any(|member| member.backend.id == backend)
    }

    /// The backends of the set that have become ineligible since it was built.
    pub fn no_longer_eligible(&self) -> impl Iterator<Item = BackendId> {
        let members = self.main.members.iter().chain(&self.backup.members);
        let gone = members.filter(|member| !self.is_open && !member.is_eligible());
        gone.map(|member| member.backend.id)
    }

    /// The backends that the pool had when the set was built, eligible or not.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Why it is empty, as `explain` says it to the first that asks.
    pub(super) fn outage(&self, explain: impl FnOnce(&Roster) -> String) -> &str {
        if let Some(known) = self.outage.get() {
            return known;
        }
        // Not in the lock: workers that ask at the same time would wait for each other.
        let explained = explain(&self.roster).into();
        self.outage.get_or_init(|| explained)
    }

    /// Number of eligible backends, backups included.
    pub fn len(&self) -> usize {
        self.main.members.len() + self.backup.members.len()
    }

    /// Whether no backend is eligible.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tier {
    fn new(members: Vec<Arc<Member>>, strategy: &strategy::Settings, cursor: &Arc<Cursor>) -> Self {
        let candidate = |(member, weight): (&Arc<Member>, u32)| Candidate {
            identity: member.identity,
            load: Arc::clone(&member.backend.load),
            weight,
        };
        let shares = members.iter().map(|member| {
            let weight = member.backend.weight.load(Ordering::Relaxed).max(1);
            (weight, member.ramp.share())
        });
        let weights = slow_start::weights(shares);
        let candidates: Vec<Candidate> = members.iter().zip(weights).map(candidate).collect();
        let strategy = strategy.build(&candidates, cursor);
        Self {
            candidates,
            members,
            strategy,
        }
    }

    fn scores(&self, context: &PickContext<'_>) -> impl Iterator<Item = (&Member, Option<f64>)> {
        let members = self.members.iter().enumerate();
        members.map(|(index, member)| {
            let score = self.strategy.score(&self.candidates, index, context);
            (&**member, score)
        })
    }

    fn pick(&self, context: &PickContext<'_>) -> Option<&Member> {
        self.strategy
            .pick(&self.candidates, context)
            .and_then(|index| self.members.get(index))
            .map(|member| &**member)
    }
}
