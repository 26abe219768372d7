//! Schemathesis: generates requests from the OpenAPI document of the admin API, valid and invalid ones, and checks each response
//! against the document.

use std::path::Path;
use std::time::Duration;

use super::program::{find_python, run_within};
use crate::support::{Backend, Proxy};

/// It takes about 20 s on an idle machine.
const LONGEST: Duration = Duration::from_mins(3);

#[test]
fn generated_requests_get_the_responses_of_the_document() {
    let Some(schemathesis) = find_python("schemathesis") else {
        return;
    };
    let backend = Backend::saying("one");
    let url = backend.url();
    let pools = format!("pools: {{ web: {{ backends: [{{ url: '{url}', name: one }}] }} }}");
    let proxy = Proxy::before(&[])
        .config(&format!("{pools}\nroutes: [{{ pool: web }}]"))
        .start();
    let document = format!("http://{}/openapi.json", proxy.admin());
    // It keeps what it generated in its folder.
    let folder = std::env::temp_dir().join(format!("evenkeel-schemathesis-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    let (program, folder) = (schemathesis.to_string_lossy(), folder.to_string_lossy());
    let mut words = vec!["-C", &folder, &program, "run", &document];
    words.extend(["--no-color", "--warnings", "off"]);
    words.extend(["--checks", "all", "--max-examples", "25"]);
    // The stream of events has no end, and an upgrade replaces the process. A schema cannot say which texts are headers.
    words.extend(["--exclude-path", "/api/v1/events"]);
    words.extend(["--exclude-path", "/api/v1/upgrade"]);
    words.extend(["--exclude-checks", "positive_data_acceptance"]);
    // The same requests in each run.
    words.push("--generation-deterministic");
    run_within(LONGEST, Path::new("env"), &words);
    std::fs::remove_dir_all(&*folder).expect("the folder can be removed");
}
