//! The table of what was measured, and its section in docs/benchmarks.md.

use std::fs;
use std::path::Path;

use evenkeel::internals::clock;

use crate::Measured;
use crate::load::CONNECTIONS;
use crate::statistics::Estimate;

/// The page.
pub(crate) const PATH: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- policy times: begin -->";
const END: &str = "<!-- policy times: end -->";

/// The section.
pub(crate) fn table(measured: &Measured) -> String {
    let Measured { rounds, plain, added } = measured;
    let mut lines = vec![
        BEGIN.to_owned(),
        format!("- date: {}", date()),
        format!("- machine: {}", machine()),
        format!(
            "- method: `cargo bench --profile gate --bench policies`; processor time of the worker thread, system calls included, on \
             {CONNECTIONS} connections; what a rule adds is the median of {rounds} rounds of its difference from routes without a rule"
        ),
        String::new(),
        "| ns per request | median | 95% interval | goal |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
        format!(
            "| without a rule | {:.0} | {:.0} to {:.0} |  |",
            plain.median, plain.from, plain.to
        ),
    ];
    for (case, Estimate { median, from, to }) in added {
        let goal = case.goal.map(|goal| format!("{goal}")).unwrap_or_default();
        lines.push(format!(
            "| {} | {median:+.0} | {from:+.0} to {to:+.0} | {goal} |",
            case.name
        ));
    }
    lines.push(END.to_owned());
    lines.join("\n")
}

/// Puts the section into the page, in place of the one that is there.
pub(crate) fn write(section: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let page = fs::read_to_string(&path).expect("the page can be read");
    let before = page.split(BEGIN).next().unwrap_or_default();
    let after = page.split(END).nth(1).unwrap_or("\n");
    let before = match page.contains(BEGIN) {
        true => before.to_owned(),
        false => format!("{}\n\n", page.trim_end()),
    };
    fs::write(path, format!("{before}{section}{after}")).expect("the page can be written");
}

fn date() -> String {
    let now = jiff::Timestamp::try_from(clock::wall()).expect("the clock is right");
    now.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = processors.lines().filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim())
    });
    let names: Vec<&str> = names.collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let name = names.first().copied().unwrap_or("unknown processor");
    format!("{name}, {} cores, Linux {}", names.len(), kernel.trim())
}
