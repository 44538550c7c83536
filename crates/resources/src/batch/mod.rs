//! The group `batch/v1`: jobs that run to completion.

pub mod cron;
pub mod cronjobs;
pub mod job_status;
pub mod jobs;
pub mod policies;
pub mod validation;
