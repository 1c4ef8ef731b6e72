//! Real servers for tests (feature `servers`; Unix).
//!
//! A *shared* server is started by the first test of a run that asks for it, serves all the others,
//! whichever process they run in, and is gone when the run is, however it ended. A run is the
//! process that `KVSTORE_TEST_RUN` names by its id (`cargo xtask test` sets it), else nextest, else
//! the test binary. Tests that stop, pause or reconfigure a server start one of their own.
//!
//! | variable | |
//! |---|---|
//! | `KVSTORE_TEST_MEMCACHED_URL` | use these two Memcached servers as the shared ones, as `memcached://127.0.0.1:11211,127.0.0.1:11212` |
//! | `KVSTORE_TEST_MONGODB_URL` | use this MongoDB as the shared one, as `mongodb://127.0.0.1/kvstore_test` |
//! | `KVSTORE_TEST_REDIS_URL` | use this Redis as the shared one, as `redis://127.0.0.1:6379` |
//! | `KVSTORE_TEST_VALKEY_URL` | use this Valkey as the shared one, as `redis://127.0.0.1:6379` |
//! | `KVSTORE_TEST_S3_URL` | use this bucket as the shared one, as `s3+http://id:secret@127.0.0.1:8333/bucket` |
//! | `KVSTORE_TEST_VAULT_URL` | use this Vault or OpenBao as the shared one, as `http://127.0.0.1:8200` |
//! | `KVSTORE_TEST_VAULT_TOKEN` | a token with every right on it |
//! | `KVSTORE_TEST_ZOOKEEPER_URL` | use this ZooKeeper as the shared one, as `zookeeper://127.0.0.1:2181` |
//! | `KVSTORE_TOOLS` | the folder where `cargo xtask servers` puts programs, `~/.cache/kvstore-tools` if not set |
//! | `KVSTORE_TEST_RUN` | the process that shared servers live as long as |
//! | `KVSTORE_TEST_REPORT` | a file to which a line is added for every server that a test process used |

mod certificates;
#[cfg(feature = "containers")]
mod container;
mod memcached;
mod memcached_server;
mod mongodb;
mod program;
mod redis;
mod redis_cluster;
mod redis_forming;
mod redis_migration;
mod redis_nodes;
mod redis_sentinel;
mod redis_server;
mod redis_topology;
mod redis_watch;
mod resp;
mod run;
mod s3;
mod s3_server;
mod upstash;
mod valkey;
mod vault;
mod vault_server;
mod zookeeper;
mod zookeeper_ensemble;

pub use memcached::{Memcached, MemcachedItem};
pub use memcached_server::MemcachedServer;
pub use mongodb::MongoDb;
pub use redis::Redis;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use redis_server::RedisServer;
pub use resp::Reply;
pub use s3::S3;
pub use s3_server::S3Server;
pub use upstash::UpstashFront;
pub use vault::Vault;
pub use vault_server::VaultServer;
pub use zookeeper::ZooKeeper;
pub use zookeeper_ensemble::ZooKeeperEnsemble;
