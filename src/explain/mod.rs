//! What would become of a request, and why, without sending anything: for `evenkeel explain`, from a config alone, and for the admin
//! API, from the state of the running process. Both build the same explanation from a config and a snapshot.

mod asked;
mod candidates;
mod changes;
mod explanation;
mod pools;
#[cfg(test)]
mod tests;
mod text;

pub use asked::AskedError;

use crate::admin::{Explanation, Question};
use crate::config::Config;
use crate::proxy::Snapshot;

/// Explains a request.
///
/// # Errors
/// The question describes no request, or one that would be rejected before it is routed.
pub fn explain(question: &Question, config: &Config, snapshot: &Snapshot) -> Result<Explanation, AskedError> {
    let asked = asked::Asked::new(question, config)?;
    Ok(Explanation::new(&asked, config, snapshot))
}

/// The explanation as text for people.
pub fn text(explanation: &Explanation) -> String {
    text::render(explanation)
}

/// Gives the pools of a snapshot that nobody runs the backends that the config lists, and those that its sources have listed when it was
/// read.
pub fn fill(snapshot: &Snapshot, config: &Config) {
    for pool in &snapshot.pools {
        let name = &pool.settings.name;
        let sources = config.sources.iter().filter(|source| source.pool == *name);
        let mut backends = pool.settings.backends.clone();
        for backend in sources.flat_map(|source| &source.backends) {
            if !backends.iter().any(|known| known.address == backend.address) {
                backends.push(backend.clone());
            }
        }
        pool.update(&backends);
    }
}
