//! One file for each built-in resource: strategy, validation, print columns
