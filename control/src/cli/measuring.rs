//! Commands to which the daemon's answers go on for a while.

use std::thread;

use tokio::sync::mpsc;

use super::Exit;
use crate::api::{
    client::{Answers, ClientError},
    protocol::Response,
};

/// Hands on what comes, until there is no more or it is interrupted. `take` tells whether it was an answer to what was asked.
pub(super) fn listen(
    mut answers: Answers,
    mut take: impl FnMut(Response) -> bool,
) -> Result<(), ClientError> {
    let (came, mut coming) = mpsc::unbounded_channel();
    // Ends with the program, if not before.
    thread::spawn(move || {
        while let Some(answer) = answers.wait().transpose() {
            if came.send(answer).is_err() {
                break;
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ClientError::Answer)?;
    runtime.block_on(async {
        loop {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => {
                    return interrupted.map_err(ClientError::Answer);
                }
                answer = coming.recv() => match answer.transpose()? {
                    Some(Response::Failed(reason)) => return Err(ClientError::Refused(reason)),
                    Some(answer) => {
                        if !take(answer) {
                            let odd = std::io::ErrorKind::InvalidData.into();
                            return Err(ClientError::Answer(odd));
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    })
}

/// Says what is wrong.
pub(super) fn failed(error: &ClientError) -> Exit {
    eprintln!("withy: {error}");
    match error {
        ClientError::Refused(_) => Exit::Failed,
        _ => Exit::Unreachable,
    }
}
