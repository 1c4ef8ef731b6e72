//! Waiting until replicas have received what was written.

use std::time::Duration;

use kvstore_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::call::Call;
use crate::command::{Command, Reply};
use crate::error::{Failure, not_understood};

impl Call<'_> {
    /// What waits for replicas, if that is wanted, for a little less than there is time.
    pub(crate) fn wait(&self) -> Option<Command> {
        let replicas = self.client.config().wait_replicas;
        if replicas == 0 {
            return None;
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = left - (left / 4).min(Duration::from_millis(500));
        let wait = Command::other("WAIT").word(replicas.to_string());
        // Zero would be for ever.
        Some(wait.word(left.as_millis().max(1).to_string()))
    }

    /// Whether as many replicas as are wanted have received what was written.
    pub(crate) fn confirmed(&self, answer: &Result<Reply, Failure>) -> Result<()> {
        let wanted = self.client.config().wait_replicas;
        match answer {
            Ok(Reply::Int(replicas)) if *replicas >= i64::from(wanted) => Ok(()),
            Ok(Reply::Int(replicas)) => {
                let message =
                    format!("{replicas} of {wanted} replicas have received what the primary has");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            Ok(_) => Err(not_understood()),
            Err(failure) if failure.code() == "NOPERM" => {
                let message =
                    "the ACL user lacks a command that `wait_replicas` needs: allow +wait";
                let refusal = Error::from(failure.clone());
                Err(Error::new(ErrorKind::PermissionDenied, message).with_source(refusal))
            }
            Err(failure) => Err(failure.clone().into()),
        }
    }
}
