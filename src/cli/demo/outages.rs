//! The outages of the demo: backend three refuses connections, and later fails its requests, in every cycle. So the dashboard shows what
//! follows: retries, a backend that is down or ejected, and its recovery.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::backend::{self, Change, Command, Condition};

/// A change in a cycle.
struct Step {
    /// When it happens, in sixtieths of the cycle.
    at: u32,
    condition: Condition,
    message: &'static str,
}

/// The changes of a cycle, in order. The second outage is shorter than `ejection.base`, so that the first trial of the ejected backend
/// succeeds when a cycle takes a minute.
const STEPS: [Step; 4] = [
    Step {
        at: 15,
        condition: Condition::Stopped,
        message: "Demo: backend three refuses connections",
    },
    Step {
        at: 25,
        condition: Condition::Healthy,
        message: "Demo: backend three accepts connections again",
    },
    Step {
        at: 35,
        condition: Condition::Failing,
        message: "Demo: backend three responds with 503, except to health checks",
    },
    Step {
        at: 43,
        condition: Condition::Healthy,
        message: "Demo: backend three responds as usual again",
    },
];

/// Length of the first outage, for people: in sixtieths of the cycle.
pub(super) const REFUSES: u32 = 10;
/// Length of the second outage.
pub(super) const FAILS: u32 = 8;

/// Changes the backend in cycles, until the demo ends.
pub(super) async fn repeat(cycle: Duration, backend: mpsc::Sender<Command>) {
    let mut start = Instant::now();
    loop {
        for step in &STEPS {
            sleep_until(start + cycle * step.at / 60).await;
            match backend::change(&backend, Change::Condition(step.condition)).await {
                Ok(()) => tracing::info!("{}", step.message),
                Err(_) if backend.is_closed() => return,
                // Another process has taken its port.
                Err(error) => tracing::warn!(%error, "Demo: backend three could not be started again"),
            }
        }
        start += cycle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_cycle_has_both_outages_and_both_recoveries() {
        let (sender, mut commands) = mpsc::channel(1);
        let mut tasks = crate::tasks::Tasks::default();
        tasks.spawn(repeat(Duration::from_millis(60), sender));
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let Some(Command { change, done }) = commands.recv().await else {
                panic!("it ended after {seen:?}");
            };
            seen.push(change);
            let _ = done.send(Ok(()));
        }
        let cycle = [
            Condition::Stopped,
            Condition::Healthy,
            Condition::Failing,
            Condition::Healthy,
            Condition::Stopped,
        ];
        assert_eq!(seen, cycle.map(Change::Condition));
    }

    #[test]
    fn steps_are_in_order_and_as_long_as_people_are_told() {
        let at = STEPS.map(|step| step.at);
        assert!(at.is_sorted() && at[3] < 60, "{at:?}");
        assert_eq!((at[1] - at[0], at[3] - at[2]), (REFUSES, FAILS));
    }

    #[tokio::test]
    async fn they_end_with_the_backends() {
        let (sender, commands) = mpsc::channel(1);
        drop(commands);
        repeat(Duration::from_millis(60), sender).await;
    }
}
