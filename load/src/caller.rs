//! One who calls: makes a request of what is in stock, sends it, and says how it went.

use crate::failure::LoadError;
use crate::mix::Op;
use crate::requests;
use crate::stock::Stock;
use crate::wire::{Client, Credential};
use payvault::api::proto as pb;
use std::sync::Arc;
use tonic::Status;

/// A server under load, and what is needed to call it.
pub struct Target {
    /// Its name in reports.
    pub name: &'static str,
    /// As whom transactions are opened and details handed in.
    pub portal: Credential,
    /// As whom tokens are redeemed and looked at.
    pub processor: Credential,
    /// The processor's id.
    pub processor_id: Arc<str>,
    /// What calls use up.
    pub stock: Arc<Stock>,
    /// The server's process, when it is known.
    pub pid: Option<u32>,
}

/// How a call went.
pub enum Answer {
    /// As it should.
    Done,
    /// Several items of a stream: how many as they should, and the others' errors.
    Items(u64, Vec<Status>),
    /// With an error.
    Failed(Status),
    /// It was not made: nothing is left in stock for it.
    Dry,
}

/// One caller, on connections that it shares with others.
#[derive(Clone)]
pub struct Caller {
    portal: Client,
    processor: Client,
    processor_id: Arc<str>,
    stock: Arc<Stock>,
}

impl Target {
    /// `count` callers over `connections` connections a principal, or as many as there are callers.
    ///
    /// # Errors
    /// When a connection fails.
    pub async fn callers(
        &self,
        count: usize,
        connections: usize,
    ) -> Result<Vec<Caller>, LoadError> {
        let connections = connections.min(count).max(1);
        let portals = self.portal.clients(connections).await?;
        let processors = self.processor.clients(connections).await?;
        let both = portals.into_iter().zip(processors);
        let callers: Vec<Caller> = both
            .map(|(portal, processor)| Caller {
                portal,
                processor,
                processor_id: Arc::clone(&self.processor_id),
                stock: Arc::clone(&self.stock),
            })
            .collect();
        Ok(callers.iter().cycle().take(count).cloned().collect())
    }
}

impl Caller {
    /// What it takes from.
    pub fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Opens a transaction and gives its name.
    ///
    /// # Errors
    /// What the server says.
    pub async fn open(&mut self) -> Result<String, Status> {
        let request = requests::open(&self.processor_id);
        let answer = self.portal.open_transaction(request).await?;
        Ok(answer.into_inner().transaction)
    }

    /// Hands details in and gives the token.
    ///
    /// # Errors
    /// What the server says.
    pub async fn tokenize(&mut self, transaction: &str) -> Result<String, Status> {
        let request = requests::tokenize(transaction);
        Ok(self.portal.tokenize(request).await?.into_inner().token)
    }

    /// Hands in the details of a request.
    ///
    /// # Errors
    /// What the server says.
    pub async fn tokenize_with(
        &mut self,
        request: pb::TokenizeRequest,
    ) -> Result<pb::TokenizeResponse, Status> {
        Ok(self.portal.tokenize(request).await?.into_inner())
    }

    /// Redeems as a request says.
    ///
    /// # Errors
    /// What the server says.
    pub async fn redeem_with(
        &mut self,
        request: pb::RedeemRequest,
    ) -> Result<pb::RedeemResponse, Status> {
        Ok(self.processor.redeem(request).await?.into_inner())
    }

    /// Makes one call.
    pub async fn call(&mut self, op: Op) -> Answer {
        let done = match op {
            Op::Open => self.open().await.map(drop),
            Op::Tokenize => {
                let Some(transaction) = self.stock.place() else {
                    return Answer::Dry;
                };
                self.tokenize(&transaction).await.map(drop)
            }
            Op::Redeem => {
                let Some(of) = self.stock.token() else {
                    return Answer::Dry;
                };
                let request = requests::redeem(&of.transaction, &of.token);
                self.processor.redeem(request).await.map(drop)
            }
            Op::Describe => {
                let Some(of) = self.stock.shown() else {
                    return Answer::Dry;
                };
                let request = requests::describe(&of.transaction, &of.token);
                self.processor.describe_token(request).await.map(drop)
            }
            Op::TokenizeStream | Op::RedeemStream => unreachable!("these go over lanes"),
        };
        match done {
            Ok(()) => Answer::Done,
            Err(status) => Answer::Failed(status),
        }
    }
}
