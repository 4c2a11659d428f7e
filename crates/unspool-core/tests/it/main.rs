//! Tests of the public face of unspool-core.

mod taskfile;
