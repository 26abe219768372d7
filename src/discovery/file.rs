//! The source `file`: a file with a list of backends. It is looked at once a second, and read again when it has changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::feed::{Again, Feed};
use super::{Parse, SourceSettings, SourceTask};
use crate::bounded_file;
use crate::file_version::FileVersion;
use crate::pool::BackendSettings;
use crate::schema::{Form, Key, Kind};

/// The path of the file.
pub(super) const KEYS: &[Key] = &[Key::new(
    "",
    Kind::Text(
        Form::new("the path of a file")
            .file()
            .checked(|path| !path.is_empty()),
    ),
    "The file. A relative path starts at the folder of the config.",
)];

/// Interval at which the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum size of a file, in bytes: [`super::MAX_BACKENDS_PER_SOURCE`] backends with long names take a fifth of it.
const MAX_SIZE: usize = 16 << 20;

/// A file that was read, or why it was not. `version` is `None` if there is none.
struct Reading {
    version: Option<FileVersion>,
    list: Result<Vec<BackendSettings>, String>,
}

pub(super) fn start(settings: SourceSettings, parse: Parse, feed: Arc<Feed>) -> Option<SourceTask> {
    Some(Box::pin(watch(PathBuf::from(settings.location()), parse, feed)))
}

async fn watch(path: PathBuf, parse: Parse, feed: Arc<Feed>) {
    let path: Arc<Path> = path.into();
    let (mut known, mut last) = (None, None);
    let mut interval = tokio::time::interval(CHECK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let path = Arc::clone(&path);
        // On a separate thread: a file system that hangs must not block the control plane.
        let reading = tokio::task::spawn_blocking(move || read_changed(&path, known, parse)).await;
        match reading {
            Ok(Some(Reading { version, list })) => {
                // It is read a second time: two changes within the clock tick of a file system give the same version.
                let is_settled = version == last;
                last = version;
                known = match feed.report(list) {
                    Again::Later if is_settled => version,
                    Again::Later | Again::Soon => None,
                };
            }
            Ok(None) => feed.unchanged(),
            Err(_) => {}
        }
    }
}

/// Reads the file unless it is the `known` one.
fn read_changed(path: &Path, known: Option<FileVersion>, parse: Parse) -> Option<Reading> {
    // Before the file is read: if it changes meanwhile, it is read once more.
    match fs::metadata(path).map(FileVersion::from) {
        Ok(version) if known == Some(version) => None,
        Ok(version) => Some(Reading {
            version: Some(version),
            list: read(path).and_then(|text| parse(&text, path.parent().unwrap_or(path))),
        }),
        Err(error) => Some(Reading {
            version: None,
            list: Err(cannot_read(&error)),
        }),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = bounded_file::read(path, MAX_SIZE).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => format!(
            "is larger than {} MiB, the limit for a list of backends",
            MAX_SIZE >> 20
        ),
        _ => cannot_read(&error),
    })?;
    String::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())
}

fn cannot_read(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{list, parse};
    use super::*;

    /// A file that is removed at the end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let name = format!("evenkeel-file-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn write(&self, text: &str) {
            fs::write(&self.0, text).unwrap();
        }

        fn read(&self, known: Option<FileVersion>) -> Option<Reading> {
            read_changed(&self.0, known, parse)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_is_read_again_only_when_it_has_changed() {
        let file = Temporary::new("again");
        file.write("http://a:1");
        let first = file.read(None).unwrap();
        assert_eq!(first.list, Ok(list("http://a:1")));
        assert!(file.read(first.version).is_none());
        file.write("http://a:1 http://b:1");
        let second = file.read(first.version).unwrap();
        assert_eq!(second.list, Ok(list("http://a:1 http://b:1")));
    }

    #[test]
    fn a_file_of_the_same_size_that_is_renamed_to_the_path_is_read() {
        let (file, other) = (Temporary::new("path"), Temporary::new("other"));
        file.write("http://a:1");
        let first = file.read(None).unwrap();
        other.write("http://b:1");
        fs::rename(&other.0, &file.0).unwrap();
        assert_eq!(file.read(first.version).unwrap().list, Ok(list("http://b:1")));
    }

    #[test]
    fn a_missing_file_a_folder_and_a_large_file_are_errors() {
        let file = Temporary::new("missing");
        let error = |file: &Temporary| file.read(None).unwrap().list.unwrap_err();
        assert!(error(&file).starts_with("cannot be read: "), "{}", error(&file));
        let folder = Temporary(std::env::temp_dir());
        assert_eq!(
            read_changed(&folder.0, None, parse).unwrap().list.unwrap_err(),
            "cannot be read: it is a folder, not a file"
        );
        std::mem::forget(folder);
        let large = fs::File::create(&file.0).unwrap();
        large.set_len(MAX_SIZE as u64 + 1).unwrap();
        assert!(
            error(&file).starts_with("is larger than 16 MiB"),
            "{}",
            error(&file)
        );
    }
}
