//! Why routes cannot be used together.

/// One error in the routes. Indices are in the order in which the routes were passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Two routes match the same requests of a host.
    #[error(
        "routes[{second}] (`{second_label}`) never matches: routes[{first}] (`{first_label}`) has the same host, path and conditions; \
         remove one of them, or give one a condition that the other does not have"
    )]
    Equal {
        /// The route that comes first.
        first: usize,
        /// Its name, or host and path.
        first_label: String,
        /// The other route.
        second: usize,
        /// Its name, or host and path.
        second_label: String,
    },
    /// Two routes have the same name.
    #[error("routes[{second}] has the name `{name}`, which routes[{first}] has already; choose another name")]
    DuplicateName {
        /// The name.
        name: String,
        /// The route that comes first.
        first: usize,
        /// The other route.
        second: usize,
    },
    /// An exact path or a prefix that no request has.
    #[error("routes[{route}] (`{label}`) never matches: its path does not begin with `/`")]
    NotAPath {
        /// The route.
        route: usize,
        /// Its name, or host and path.
        label: String,
    },
}

/// All errors in the routes; at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", texts(.0))]
pub struct RouteErrors(pub Vec<RouteError>);

fn texts(errors: &[RouteError]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("\n")
}
