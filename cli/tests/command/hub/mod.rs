//! Tests of the hub's client against a fake hub on this machine, which fails on request.

mod command;
mod credentials;
mod download;
mod faults;
mod layers;
mod other_weights;
mod repository;
mod responses;
mod routers;
mod server;
mod shared_cache;
