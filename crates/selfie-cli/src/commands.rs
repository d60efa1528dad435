//! One file a command.

pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod data;
pub(crate) mod demo;
pub(crate) mod embed;
pub(crate) mod evaluate;
pub(crate) mod export;
mod fetch;
pub(crate) mod finetune;
pub(crate) mod hub;
pub(crate) mod predict;
pub(crate) mod pretrain;
pub(crate) mod probe;
pub(crate) mod replay;
pub(crate) mod report;
pub(crate) mod search;
pub(crate) mod show;
pub(crate) mod study;
pub(crate) mod watch;
