//! Watches the config file (`watch_config`): looks at it once a second, and reports new content once it has stayed the same for a second.
//! Editors write a file twice, and deployments replace it, or a symbolic link on the way to it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Server;
use super::reload::Reloads;
use crate::admin::ReloadRequest;
use crate::config::ConfigText;
use crate::file_version::FileVersion;
use crate::tasks::Tasks;

/// Interval at which the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The watch over the config file, while it is on.
pub(super) struct ConfigWatch {
    task: Option<Tasks>,
    changed: mpsc::Receiver<u64>,
    sender: mpsc::Sender<u64>,
}

/// What is known of the file.
#[derive(Debug, Default)]
struct Looks {
    /// The version that was seen last.
    last: Option<FileVersion>,
    /// The version whose content was read last.
    read: Option<FileVersion>,
    /// The last error, which is logged once.
    error: Option<String>,
}

/// What a look at the file has found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// New content, identified by this.
    Content(u64),
    /// It cannot be read, which was not so before.
    Error(String),
}

impl ConfigWatch {
    /// Watches nothing.
    pub(super) fn off() -> Self {
        // A change that is not taken yet says all.
        let (sender, changed) = mpsc::channel(1);
        Self {
            task: None,
            changed,
            sender,
        }
    }

    /// Watches the config file from now on, or no more, as the active config says.
    pub(super) fn configure(&mut self, reloads: &Reloads) {
        let file = reloads.file().filter(|_| reloads.active().watch_config);
        match (file, &self.task) {
            (None, _) => self.task = None,
            (Some(_), Some(_)) => {}
            (Some((path, text_hash)), None) => {
                let mut task = Tasks::default();
                task.spawn(watch(path.into(), text_hash, self.sender.clone()));
                self.task = Some(task);
            }
        }
    }

    /// Waits for new content of the file; returns what identifies it.
    pub(super) async fn changed(&mut self) -> u64 {
        match self.changed.recv().await {
            Some(hash) => hash,
            None => std::future::pending().await,
        }
    }
}

impl Server {
    /// Reloads the config after its file has changed, unless somebody else has had that done meanwhile.
    pub(super) fn reload_changed_file(&mut self, hash: u64) {
        let Some((path, text_hash)) = self.reloads.file() else {
            return;
        };
        if hash != text_hash.load(Ordering::Relaxed) {
            tracing::info!(source = %path.display(), "Config file has changed; reloading");
            self.start_reload(ReloadRequest::default());
        }
    }
}

impl Looks {
    /// Looks at the file once, and reads it if it has not changed since the last look and its content is not known. Blocks.
    fn look(&mut self, path: &Path) -> Found {
        // Before the file is read: if it changes meanwhile, it is read once more.
        let version = match fs::metadata(path) {
            Ok(metadata) => FileVersion::from(metadata),
            Err(error) => {
                self.last = None;
                return self.failed(format!("cannot be read: {error}"));
            }
        };
        let is_still = self.last.replace(version) == Some(version);
        if !is_still || self.read == Some(version) {
            return Found::Nothing;
        }
        self.read = Some(version);
        match ConfigText::read(path) {
            Ok(text) => {
                self.error = None;
                Found::Content(text.hash())
            }
            Err(report) => self.failed(report.to_string()),
        }
    }

    fn failed(&mut self, error: String) -> Found {
        if self.error.as_ref() == Some(&error) {
            return Found::Nothing;
        }
        self.error = Some(error.clone());
        Found::Error(error)
    }
}

async fn watch(path: Arc<Path>, text_hash: Arc<AtomicU64>, changed: mpsc::Sender<u64>) {
    let mut looks = Looks::default();
    let mut interval = tokio::time::interval(CHECK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let its = Arc::clone(&path);
        // On a separate thread: a file system that hangs must not block the control plane.
        let look = tokio::task::spawn_blocking(move || {
            let found = looks.look(&its);
            (looks, found)
        });
        let Ok((after, found)) = look.await else { return };
        looks = after;
        match found {
            Found::Content(hash) if hash != text_hash.load(Ordering::Relaxed) => {
                if changed.send(hash).await.is_err() {
                    return;
                }
            }
            Found::Content(_) | Found::Nothing => {}
            Found::Error(error) => {
                let source = path.display();
                tracing::warn!(%source, error, "Config file cannot be watched; the active configuration stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("evenkeel-watch-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// Replaces a file as a whole.
        fn put(&self, name: &str, text: &str) {
            fs::write(self.path("new"), text).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn content(found: &Found) -> u64 {
        match found {
            Found::Content(hash) => *hash,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn content_is_found_once_it_has_stayed_the_same() {
        let folder = Folder::new("still");
        let (path, mut looks) = (folder.path("c.yaml"), Looks::default());
        folder.put("c.yaml", "a");
        assert_eq!(looks.look(&path), Found::Nothing, "it may still be written");
        folder.put("c.yaml", "ab");
        assert_eq!(looks.look(&path), Found::Nothing, "it was");
        let first = content(&looks.look(&path));
        assert_eq!(looks.look(&path), Found::Nothing, "it is known");
        folder.put("c.yaml", "ab");
        assert_eq!(looks.look(&path), Found::Nothing);
        assert_eq!(
            content(&looks.look(&path)),
            first,
            "the same content in another file"
        );
    }

    #[test]
    fn a_symbolic_link_on_the_way_to_the_file_may_be_replaced() {
        let folder = Folder::new("link");
        for (version, text) in [("1", "a"), ("2", "b")] {
            fs::create_dir(folder.path(version)).unwrap();
            fs::write(folder.path(version).join("c.yaml"), text).unwrap();
        }
        symlink("1", folder.path("..data")).unwrap();
        symlink("..data/c.yaml", folder.path("c.yaml")).unwrap();
        let (path, mut looks) = (folder.path("c.yaml"), Looks::default());
        looks.look(&path);
        let first = content(&looks.look(&path));
        symlink("2", folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
        looks.look(&path);
        assert_ne!(content(&looks.look(&path)), first);
    }

    #[test]
    fn a_file_that_is_missing_is_reported_once() {
        let folder = Folder::new("missing");
        let (path, mut looks) = (folder.path("c.yaml"), Looks::default());
        assert!(matches!(looks.look(&path), Found::Error(_)));
        assert_eq!(looks.look(&path), Found::Nothing);
        folder.put("c.yaml", "a");
        looks.look(&path);
        content(&looks.look(&path));
        fs::remove_file(&path).unwrap();
        assert!(matches!(looks.look(&path), Found::Error(_)), "again");
    }
}
