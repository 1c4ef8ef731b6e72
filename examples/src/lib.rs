//! Nothing but the README of the workspace, whose examples are compiled as tests here.
#![doc = include_str!("../../README.md")]
