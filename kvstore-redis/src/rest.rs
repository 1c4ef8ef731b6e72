//! Upstash by its REST API.
