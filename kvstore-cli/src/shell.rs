//! What belongs to the command rather than to stores: completions and the manual.

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Arguments;
use crate::failure::{End, Failure};
use crate::output;

pub(crate) fn completions(shell: Shell) -> Result<End, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kvstore", &mut script);
    output::write(&script)?;
    Ok(End::Done)
}

pub(crate) fn man(folder: Option<&Path>) -> Result<End, Failure> {
    let mut command = Arguments::command();
    let Some(folder) = folder else {
        output::write(&page(&command)?)?;
        return Ok(End::Done);
    };
    let failed = |error| Failure::io("the manual pages cannot be written", error);
    fs::create_dir_all(folder).map_err(failed)?;
    // So that the options of all commands are in the page of each.
    command.build();
    fs::write(folder.join("kvstore.1"), page(&command)?).map_err(failed)?;
    for part in command
        .get_subcommands()
        .filter(|part| part.get_name() != "help")
    {
        let name = format!("kvstore-{}", part.get_name());
        let page = page(&part.clone().name(name.clone()))?;
        fs::write(folder.join(format!("{name}.1")), page).map_err(failed)?;
    }
    Ok(End::Done)
}

fn page(command: &clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::io("the manual page cannot be made", error))?;
    Ok(page)
}
