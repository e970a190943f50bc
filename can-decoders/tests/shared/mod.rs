//! Where real DBC files and logs are, when they are at hand: they are not part of the project.

use std::path::{Path, PathBuf};

/// The folder `data`, found through the environment variable `OUTRIDER_SHARED`, else as `../shared` beside the workspace.
pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let root = std::env::var_os("OUTRIDER_SHARED").map_or(beside, PathBuf::from);
    let data = root.join("data");
    if data.join("dbc").is_dir() && data.join("logs").is_dir() {
        return Some(data);
    }
    println!("skipped: no corpus (set OUTRIDER_SHARED to the shared folder)");
    None
}
