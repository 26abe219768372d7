//! `evenkeel demo`: what it is given, and the config that follows from it and from the backends that it started.

use clap::Args;

use crate::config::{self, Loaded, Report};

/// Arguments of `evenkeel demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Where the balancer listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Where the admin API is, or `off`
    #[arg(long, value_name = "ADDRESS|off", default_value = "127.0.0.1:9900")]
    pub admin: String,
}

impl DemoArguments {
    /// The config of a balancer before these backends.
    ///
    /// # Errors
    /// Everything that is wrong with the arguments.
    pub fn config(&self, backends: Vec<String>) -> Result<Loaded, Report> {
        config::from_arguments(&config::Arguments {
            listen: vec![self.listen.clone()],
            admin: Some(self.admin.clone()),
            backends,
            ..config::Arguments::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_the_balancer_before_the_backends() {
        let arguments = DemoArguments {
            listen: "127.0.0.1:0".to_owned(),
            admin: "off".to_owned(),
        };
        let backends = vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let loaded = arguments
            .config(backends)
            .unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(loaded.config.pools[0].backends.len(), 2);
        assert!(loaded.config.listeners[0].address.ip().is_loopback());
    }
}
