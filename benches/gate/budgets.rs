//! What each part may cost, and whether it does.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use serde::{Deserialize, Serialize};

/// Where they are kept.
pub(crate) const PATH: &str = "benches/gate/budgets.json";

/// Measured below this share of its budget, the budget is too easy to keep: it should be lowered.
const LOW: f64 = 0.95;

/// The name of a part and what it was counted to.
pub(crate) type Count = (String, f64);

/// What counts depend on beside the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    rust: String,
    /// Valgrind shows programs one of a few processors of its own making, by what the real one can do.
    machine: String,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Budgets {
    conditions: Conditions,
    /// What a part may take more than its budget. Parts are exact; whole requests differ by up to 1.5% on a busy machine.
    allowed_growth_percent: f64,
    /// Instructions of one operation.
    instructions: BTreeMap<String, f64>,
}

impl Conditions {
    /// Those of this run.
    pub(crate) fn here() -> Result<Self, Box<dyn Error>> {
        let program = env::current_exe()?;
        // It stands in `target/PROFILE/deps`.
        let profile = program.ancestors().nth(2).and_then(|folder| folder.file_name());
        if profile.is_none_or(|profile| profile != "gate") {
            return Err("counts depend on the profile: cargo bench --profile gate --bench gate".into());
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
    /// Budgets of what was measured.
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

    /// Those in force.
    pub(crate) fn read() -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path()).map_err(|error| format!("{PATH}: {error}"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Puts them in force.
    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string_pretty(self)?;
        Ok(fs::write(path(), text + "\n")?)
    }

    /// Whether a part has a budget and is within it.
    pub(crate) fn allow(&self, (name, count): &Count) -> bool {
        let budget = self.instructions.get(name);
        budget.is_some_and(|budget| *count <= budget * self.most())
    }

    /// The ratio to its budget that a part may have.
    fn most(&self) -> f64 {
        1.0 + self.allowed_growth_percent / 100.0
    }

    /// Prints what was counted beside what was allowed, and says whether all is well.
    pub(crate) fn judge(&self, conditions: &Conditions, counts: &[Count]) -> bool {
        let mut is_fine = true;
        println!(
            "{:<40} {:>12} {:>12} {:>7}",
            "instructions of", "budget", "measured", "ratio"
        );
        for part @ (name, count) in counts {
            let budget = self.instructions.get(name).copied().unwrap_or_default();
            let ratio = count / budget;
            let verdict = match ratio {
                _ if budget == 0.0 => "  NEW: it needs a budget",
                _ if !self.allow(part) => "  OVER",
                _ if ratio <= LOW => "  lower the budget",
                _ => "",
            };
            is_fine &= self.allow(part);
            println!("{name:<40} {budget:>12.1} {count:>12.1} {ratio:>7.3}{verdict}");
        }
        let is_measured = |name: &&String| counts.iter().any(|(measured, _)| measured == *name);
        for name in self.instructions.keys().filter(|name| !is_measured(name)) {
            println!("{name:<40} GONE: there is no such part");
            is_fine = false;
        }
        if self.conditions != *conditions {
            println!(
                "not judged: the budgets are for {:?}, here is {conditions:?}",
                self.conditions
            );
            return true;
        }
        if !is_fine {
            println!("CONTRIBUTING.md, \"Speed\", says what to do");
        }
        is_fine
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH)
}
