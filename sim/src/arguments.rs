//! Reads the arguments of the command line.

use evenkeel_balance::strategy;
use evenkeel_sim::check::Plan;
use evenkeel_sim::defect::{DEFECTS, Defect};

/// How the program is called.
pub(crate) const USAGE: &str = "\
usage: evenkeel-sim check [--seeds N] [--first N] [--steps N] [--seed N] [--trace] [--strategy NAME] [--defect NAME] [--threads N]
       evenkeel-sim experiments [--threads N]

check        looks for broken invariants in random runs
experiments  compares the strategies, and writes docs/strategies.md and its plots
--seeds      number of runs, each with a seed of its own (10000)
--first      the first seed (0)
--steps      steps of each run (3000)
--seed       runs this seed alone
--trace      shows everything that happens in the run of --seed
--strategy   uses this strategy; otherwise all take turns
--defect     builds in a deliberate defect, which has to be found
--threads    number of threads (one for each core)";

/// What to do.
pub(crate) enum Command {
    /// Check invariants.
    Check,
    /// Compare strategies.
    Experiments,
}

/// The arguments.
pub(crate) struct Arguments {
    pub(crate) command: Command,
    pub(crate) plan: Plan,
    /// The seed whose run is shown.
    pub(crate) trace: Option<u64>,
}

impl Arguments {
    /// Reads the arguments behind the name of the program.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let command = match words.next().as_deref() {
            Some("check") => Command::Check,
            Some("experiments") => Command::Experiments,
            Some(other) => return Err(format!("`{other}` is not a command")),
            None => return Err("no command".to_owned()),
        };
        let mut plan = Plan {
            first: 0,
            seeds: 10_000,
            steps: 3_000,
            defect: None,
            strategy: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let mut is_traced = false;
        while let Some(flag) = words.next() {
            if flag == "--trace" {
                is_traced = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("`{flag}` needs a value"))?;
            match flag.as_str() {
                "--seeds" => plan.seeds = number(&flag, &value)?,
                "--first" => plan.first = number(&flag, &value)?,
                "--steps" => plan.steps = number(&flag, &value)?,
                "--threads" => plan.threads = number(&flag, &value)? as usize,
                "--seed" => (plan.first, plan.seeds) = (number(&flag, &value)?, 1),
                "--strategy" => {
                    let entry = strategy::by_name(&value);
                    plan.strategy = Some(entry.ok_or_else(|| format!("`{value}` is not a strategy"))?);
                }
                "--defect" => {
                    let names: Vec<&str> = DEFECTS.iter().map(|(_, name, _)| *name).collect();
                    let unknown = || format!("`{value}` is not a defect: {}", names.join(", "));
                    plan.defect = Some(Defect::by_name(&value).ok_or_else(unknown)?);
                }
                _ => return Err(format!("`{flag}` is not an option")),
            }
        }
        if is_traced && plan.seeds != 1 {
            return Err("`--trace` needs `--seed`".to_owned());
        }
        let trace = is_traced.then_some(plan.first);
        Ok(Self { command, plan, trace })
    }
}

fn number(flag: &str, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_| format!("`{flag}` needs a whole number, not `{value}`"))
}
