//! Options of `unspool doctor`.

use clap::Args;

use super::SetUpArgs;

/// Options of `unspool doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    #[command(flatten)]
    pub(crate) set_up: SetUpArgs,
    /// Do not import the application.
    #[arg(long)]
    pub(crate) no_import: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
