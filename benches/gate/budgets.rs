//! The budgets of all parts: reads and writes them, and checks measured counts against them.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use serde::{Deserialize, Serialize};

/// The file with the budgets.
pub(crate) const PATH: &str = "benches/gate/budgets.json";

/// Below this fraction of its budget a part's budget is too generous and should be lowered.
const LOW: f64 = 0.95;

/// The name of a part and its measured count.
pub(crate) type Count = (String, f64);

/// Conditions that affect counts in addition to the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    rust: String,
    /// Valgrind emulates one of a few processors, depending on the features of the real one.
    machine: String,
}

/// The content of the budget file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Budgets {
    conditions: Conditions,
    /// How far a part may exceed its budget, in percent. Parts are exact; whole requests vary by up to 1.5% on a busy machine.
    allowed_growth_percent: f64,
    /// Instructions of one operation, by part.
    instructions: BTreeMap<String, f64>,
}

impl Conditions {
    /// The conditions of this run.
    pub(crate) fn here() -> Result<Self, Box<dyn Error>> {
        let program = env::current_exe()?;
        // Its path is `target/PROFILE/deps/NAME`.
        let profile = program.ancestors().nth(2).and_then(|folder| folder.file_name());
        if profile.is_none_or(|profile| profile != "gate") {
            return Err(
                "counts depend on the build profile: run `cargo bench --profile gate --bench gate`".into(),
            );
        }
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let version = Command::new(rustc).arg("--version").output()?;
        let has_avx2 = fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" avx2 "));
        let vectors = if has_avx2 { "with" } else { "without" };
        Ok(Self {
            rust: String::from_utf8(version.stdout)?.trim().to_owned(),
            machine: format!("{} {vectors} AVX2", env::consts::ARCH),
        })
    }
}

impl Budgets {
    /// Makes budgets from measured counts.
    pub(crate) fn new(conditions: &Conditions, counts: &[Count]) -> Self {
        Self {
            conditions: conditions.clone(),
            allowed_growth_percent: 3.0,
            instructions: counts
                .iter()
                .map(|(name, count)| (name.clone(), (count * 10.0).round() / 10.0))
                .collect(),
        }
    }

    /// Reads the current budgets.
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path()).map_err(|error| format!("{PATH}: {error}"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes them as the current budgets.
    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(fs::write(path(), text + "\n")?)
    }

    /// Whether a part has a budget and is within it.
    pub(crate) fn allow(&self, (name, count): &Count) -> bool {
        let budget = self.instructions.get(name);
        budget.is_some_and(|budget| *count <= budget * self.most())
    }

    /// The largest allowed ratio of a count to its budget.
    fn most(&self) -> f64 {
        1.0 + self.allowed_growth_percent / 100.0
    }

    /// Prints each count next to its budget, and returns whether all parts are within their budgets.
    pub(crate) fn check(&self, conditions: &Conditions, counts: &[Count]) -> bool {
        let mut is_within = true;
        println!(
            "{:<40} {:>12} {:>12} {:>7}",
            "instructions of", "budget", "measured", "ratio"
        );
        for part @ (name, count) in counts {
            let budget = self.instructions.get(name).copied().unwrap_or_default();
            let ratio = count / budget;
            let result = match ratio {
                _ if budget == 0.0 => "  NEW: add a budget",
                _ if !self.allow(part) => "  OVER",
                _ if ratio <= LOW => "  lower the budget",
                _ => "",
            };
            is_within &= self.allow(part);
            println!("{name:<40} {budget:>12.1} {count:>12.1} {ratio:>7.3}{result}");
        }
        let is_measured = |name: &&String| counts.iter().any(|(measured, _)| measured == *name);
        for name in self.instructions.keys().filter(|name| !is_measured(name)) {
            println!("{name:<40} GONE: no such part, remove its budget");
            is_within = false;
        }
        if self.conditions != *conditions {
            println!(
                "not checked: the budgets are for {:?}, this run has {conditions:?}",
                self.conditions
            );
            return true;
        }
        if !is_within {
            println!("see CONTRIBUTING.md, \"Speed\"");
        }
        is_within
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH)
}
