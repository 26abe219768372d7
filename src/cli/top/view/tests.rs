//! What is drawn, as text.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::app::{App, Link};
use super::super::example;
use super::super::model::{Update, Verb};
use super::*;
use crate::admin::BackendState;

/// The lines of a screen of this size.
fn screen(app: &App, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    // 2026-01-01, 00:03:20 UTC.
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_800);
    let at = (crate::clock::now(), wall);
    let frame = terminal.draw(|frame| draw(frame, app, at)).unwrap();
    let cells: Vec<&str> = frame.buffer.content().iter().map(|cell| cell.symbol()).collect();
    let lines = cells
        .chunks(width.into())
        .map(|line| line.concat().trim_end().to_owned());
    lines.collect()
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

#[test]
fn a_small_terminal_shows_everything() {
    let mut app = example::app(1, 3);
    let down = &mut app.status.pools[0].backends[2];
    down.state = BackendState::Down;
    down.why = Some("connection refused".to_owned());
    let lines = screen(&app, SMALL);
    let expected = [
        (
            0,
            "evenkeel top  127.0.0.1:9900  ● ready  up 3m 20s  version 0.1.0  demo",
        ),
        (
            1,
            "requests/s 57.0  errors 0%  p50 1.20 ms  p99 69.0 ms  in flight 3  conns 12",
        ),
        (2, "requests/s, at most 59; retries/s 1      p99, at most 69.0 ms"),
        (
            6,
            "pool / backend                 state         req/s failed in fl.      p99 weight",
        ),
        (
            7,
            "pool-1  ● 2 up  ■ 1 down  0/s  failed –  queue 0  retries left 10  round_robin",
        ),
        (
            8,
            "  http://127.0.0.1:8001        ● up              –      –      1  12.5 ms      1",
        ),
        (
            10,
            "  http://127.0.0.1:8003        ■ down            –      –      1  12.5 ms      1",
        ),
        (17, "pool-1 › http://127.0.0.1:8001  ● up for 3m 20s"),
        (18, "events, in UTC"),
        (19, "00:03:10 INFO  Started"),
        (20, "00:03:10 WARN  Backend is down"),
        (
            23,
            "↑↓ select  s sort: config  / filter  d drain  r ready  ? help  q quit",
        ),
    ];
    for (line, text) in expected {
        assert_eq!(lines[line], text, "\n{}", lines.join("\n"));
    }
    assert!(lines[5].contains('█'), "{}", lines[5]);
}

#[test]
fn a_large_terminal_shows_reasons_beside_the_backends() {
    let mut app = example::app(1, 3);
    let down = &mut app.status.pools[0].backends[2];
    down.state = BackendState::Down;
    down.why = Some("connection refused".to_owned());
    let lines = screen(&app, LARGE);
    let line = lines.iter().find(|line| line.contains("8003")).unwrap();
    assert!(
        line.contains("■ down") && line.ends_with("  connection refused"),
        "{line}"
    );
    let heading = lines
        .iter()
        .find(|line| line.starts_with("pool / backend"))
        .unwrap();
    assert!(heading.contains("p50") && heading.ends_with("why"), "{heading}");
}

#[test]
fn the_selected_one_of_300_backends_is_visible() {
    let mut app = example::app(3, 100);
    for (distance, expected) in [
        (0, "pool-1 › http://127.0.0.1:8001 "),
        (149, "pool-2 › http://127.0.0.1:8050 "),
        (999, "pool-3 › http://127.0.0.1:8100 "),
    ] {
        app.move_by(distance);
        for size in [SMALL, LARGE] {
            let lines = screen(&app, size);
            let text = lines.join("\n");
            assert!(text.contains(expected), "{text}");
            let url = expected.trim_end().rsplit(' ').next().unwrap();
            let shown = lines
                .iter()
                .filter(|line| line.trim_start().starts_with(url))
                .count();
            assert!(shown >= 1, "{text}");
        }
    }
}

#[test]
fn a_lost_process_is_named_and_its_last_figures_stay() {
    let mut app = example::app(1, 3);
    app.link = Link::Lost("connection refused".to_owned());
    let lines = screen(&app, SMALL);
    assert!(
        lines[0].contains("■ not connected, trying again: connection refused"),
        "{}",
        lines[0]
    );
    assert!(lines[1].starts_with("requests/s 57.0"), "{}", lines[1]);
}

#[test]
fn questions_results_and_the_filter_are_in_the_last_line() {
    let mut app = example::app(1, 3);
    app.ask(Verb::Drain);
    let last = |app: &App| screen(app, SMALL)[23].clone();
    assert_eq!(
        last(&app),
        "Drain? y/n  http://127.0.0.1:8001 of pool pool-1: no new requests, 1 in flight w"
    );
    assert!(screen(&app, LARGE)[49].ends_with("1 in flight will end"));
    app.mode = Mode::Filter;
    app.filter = "8002".to_owned();
    assert_eq!(last(&app), "filter: 8002   Enter keeps it, Esc removes it");
    app.mode = Mode::Browse;
    assert!(
        last(&app).starts_with("filter: 8002, Esc removes it  ↑↓ select"),
        "{}",
        last(&app)
    );
    let now = crate::clock::now() + Duration::from_secs(1);
    app.update(Update::Acted(Ok("it is drained".to_owned())), now);
    assert_eq!(last(&app), "done: it is drained");
    app.update(Update::Acted(Err("no such pool".to_owned())), now);
    assert_eq!(last(&app), "refused: no such pool");
    app.mode = Mode::Help;
    let text = screen(&app, SMALL).join("\n");
    assert!(text.contains("drain the selected backend"), "{text}");
}

#[test]
fn text_of_the_process_cannot_control_the_terminal() {
    let mut app = example::app(1, 1);
    let hostile = "\u{1b}[31m\u{202e}x".to_owned();
    app.link = Link::Lost(hostile.clone());
    app.filter.clear();
    app.status.process.version.clone_from(&hostile);
    app.status.process.config.source.clone_from(&hostile);
    let pool = &mut app.status.pools[0];
    (pool.name, pool.strategy) = (hostile.clone(), hostile.clone());
    let backend = &mut pool.backends[0];
    (backend.url, backend.name, backend.why) =
        (hostile.clone(), Some(hostile.clone()), Some(hostile.clone()));
    for event in &mut app.events {
        event.msg.clone_from(&hostile);
        event.level.clone_from(&hostile);
    }
    app.ask(Verb::Ready);
    for size in [SMALL, LARGE] {
        let text = screen(&app, size).concat();
        assert!(text.contains("\u{fffd}[31m\u{fffd}x"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
}

#[test]
fn any_size_can_be_drawn() {
    let mut app = example::app(2, 5);
    for mode in [Mode::Browse, Mode::Help, Mode::Filter] {
        app.mode = mode;
        for size in [
            (1, 1),
            (2, 40),
            (10, 3),
            (40, 16),
            (79, 19),
            (119, 41),
            (300, 100),
        ] {
            let lines = screen(&app, size);
            assert_eq!(lines.len(), usize::from(size.1));
        }
    }
}
