//! The options of the stats server.

/// Where and how statistics are served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsOptions {
    /// The address as it was written.
    pub address: Option<String>,
    /// With a head of HTTP.
    pub http: bool,
    /// Without tabs and newlines.
    pub minified: bool,
}
