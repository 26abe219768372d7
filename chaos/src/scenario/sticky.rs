//! Clients with sticky sessions: those of the backends that stay must not move when another one goes and comes back.

use std::collections::HashMap;

use super::{Context, THREE, goals, sleep_until};
use crate::client::{Class, Method, Record, Request};
use crate::clock;
use crate::error::Result;
use crate::peer::Setting;
use crate::report::Report;

/// Clients, each with its own cookie.
const CLIENTS: u64 = 1_000;

pub(super) fn run(context: &Context, report: &mut Report) -> Result<()> {
    let mut rig = context.rig(&[Setting::StickyCookie], &THREE)?;
    let victim = usize::try_from(context.rng().below(3)).unwrap_or_default();
    let load = context.load(&rig, context.duration);
    let load = load.make(|number, _| {
        let mut request = Request::new(Class::KeepAlive, Method::Get);
        request.client = u32::try_from(number % CLIENTS).ok();
        request
    });
    let load = load.start()?;
    let start = load.start;
    let length = clock::micros(context.duration);
    sleep_until(start + length / 2);
    rig.fleet.kill(victim)?;
    sleep_until(start + length * 3 / 4);
    rig.fleet.restart(victim)?;
    let records = load.finish()?;
    rig.finish(context, report, &records)?;

    report.table("requests", &records, start);
    goals::no_failed_get(report, &records);
    let moves = moves(&records);
    let clients = moves.len();
    let stayed = moves.values().filter(|(home, _)| *home != victim);
    let lost = stayed.clone().filter(|(_, count)| *count > 0).count();
    let of_victim = clients - stayed.count();
    report.fact("clients", clients);
    report.fact("clients of the backend that was killed", of_victim);
    report.at_most("clients of other backends that moved", goals::number(lost), 0);
    let most = moves.values().map(|(_, count)| *count).max().unwrap_or_default();
    report.at_most("moves of one client", goals::number(most), 1);
    let is_spread = of_victim > 0 && of_victim < clients;
    report.goal(
        "clients are spread over the backends",
        format!("{of_victim} of {clients}"),
        is_spread,
    );
    Ok(())
}

/// The first backend of each client, and how often it was then served by another one than before.
fn moves(records: &[Record]) -> HashMap<u32, (usize, usize)> {
    let mut last: HashMap<u32, usize> = HashMap::new();
    let mut moves: HashMap<u32, (usize, usize)> = HashMap::new();
    for record in records {
        let (Some(client), Some(backend)) = (record.client, record.backend) else {
            continue;
        };
        let entry = moves.entry(client).or_insert((backend, 0));
        if last
            .insert(client, backend)
            .is_some_and(|before| before != backend)
        {
            entry.1 += 1;
        }
    }
    moves
}
