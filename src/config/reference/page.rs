//! Generates `docs/config.md` from the table of keys.

use std::fmt::Write;

use super::super::DEFAULT_PATHS;
use super::tables;
use crate::config::sections::SECTIONS;
use crate::schema::{ANY, Key, Presence, Section};

const INTRODUCTION: &str = "\
# The config file

<!-- Generated from the table of keys in src/config/sections: change it there, then run
     UPDATE_DOCS=1 cargo test reference -->

A minimal config:

```yaml
listen: 0.0.0.0:8080
backends:
  - http://localhost:8001
  - http://localhost:8002
```

`evenkeel check` reports all errors at once, `evenkeel print-config` prints the effective config with all defaults,
and `evenkeel schema` prints a JSON Schema for editors.

- The file is one YAML document. Unknown keys and duplicate keys are errors. Anchors and aliases are supported; tags and
  merge keys are not.
- Durations are a number and `ms`, `s`, `m` or `h`: `250ms`, `10s`, `1m30s`. The unit is required.
- Sizes are a number of bytes, or a number and `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or `KB`, `MB`, `GB`,
  `TB` (powers of 1000).
- Booleans are `true` and `false` only. Where `off` is allowed, `off` and `false` mean the same.
- Relative paths start at the folder of the config file, or at the current folder when the config comes from stdin.
- `${VAR}` in a value is the environment variable `VAR`, which must be set; `${VAR:-fallback}` uses the fallback if it is
  unset or empty; `$${` is a literal `${`. Variables are expanded once, after parsing, so that their values cannot add
  YAML. Messages show the text as written, never the value of a variable.
- Values of headers and the `replace` of a rewrite hold variables of requests, such as `${client_ip}`. There `${VAR}` is an
  environment variable only if its name has no small letters, and `$$` is a `$`.
- In routes and policies, one value can be written in place of a list with one item.
";

/// The text of the page.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let _ = writeln!(
        page,
        "- Without `-c FILE`, the file is `{}` if it exists, else `{}`.",
        DEFAULT_PATHS[0], DEFAULT_PATHS[1]
    );
    page + &page_of(&SECTIONS)
}

/// The part of the page about these sections, and about the rows of tables that their keys select.
pub(in crate::config) fn page_of(sections: &[&'static Section]) -> String {
    let mut page = String::new();
    let mut written: Vec<&str> = Vec::new();
    for section in sections {
        write_section(&mut page, section.name, section);
        written.push(section.name);
    }
    for section in sections {
        for (table, row) in
            tables(section).flat_map(|table| (table.rows)().into_iter().map(move |row| (table, row)))
        {
            if row.keys.is_empty() || written.contains(&row.name) {
                continue;
            }
            written.push(row.name);
            write_section(
                &mut page,
                &format!("{}: {}", table.what, row.name),
                &row.section(),
            );
            let mut inner = Vec::new();
            row.section().collect_sections(&mut inner);
            for section in inner {
                if !written.contains(&section.name) {
                    written.push(section.name);
                    write_section(&mut page, section.name, section);
                }
            }
        }
    }
    page
}

fn write_section(page: &mut String, heading: &str, section: &Section) {
    let _ = write!(page, "\n## {heading}\n\n{}\n\n", section.about);
    page.push_str("| key | value | default | description |\n| --- | --- | --- | --- |\n");
    for key in section.keys {
        let default = default(key);
        let _ = writeln!(
            page,
            "| {} | {} | {default} | {} |",
            name_of(key),
            cell(&key.accepts()),
            cell(key.about)
        );
    }
}

/// The name of a key, or what stands for it.
fn name_of(key: &Key) -> String {
    match key.name {
        ANY => "any other name".to_owned(),
        "" => "the value".to_owned(),
        name => format!("`{name}`"),
    }
}

fn default(key: &Key) -> String {
    match key.presence {
        Presence::Required => "required".to_owned(),
        Presence::Default(text) => format!("`{text}`"),
        Presence::Optional(text) => text.to_owned(),
    }
}

/// Escapes text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/config.md is out of date: run UPDATE_DOCS=1 cargo test reference"
        );
    }
}
