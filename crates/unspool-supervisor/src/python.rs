//! How a Python of the application's environment is begun with a module of our package.

/// The program, for `python -c`, that calls `main` of a module of the package `unspool`.
///
/// It leaves the current directory out of the path: a `json.py` of the project is not ours to import.
pub fn python_program(module: &str) -> String {
    format!(
        "\
import sys
sys.path[:] = [entry for entry in sys.path if entry]
try:
    from unspool import {module}
except ModuleNotFoundError as error:
    if error.name != 'unspool':
        raise
    sys.exit(f'unspool: {{sys.executable}} has no package `unspool`: install it there, or name the '
             'environment that has it with `virtualenv`')
{module}.main()"
    )
}
