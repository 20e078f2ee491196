"""Everything that vlad raises on purpose.

    VladError                 an expected failure: one line, what is wrong with what, and the way out
    |- InputError             a file, folder or text handed in by a person
    |  |- VideoError          a clip that cannot be opened or holds no picture
    |  |- LimitError          a clip over a limit of Settings (time, pixels, memory, duration)
    |  |- MissingError        there is nothing of that id
    |  |- RightsError          somebody else's, and only theirs to change
    |  |- ConflictError       it does not fit what is there by now, such as a verdict on what somebody else just decided
    |  `- TemplateError       a prompt template that does not parse or misses a value
    |- SettingsError          a setting of a wrong type, range or name
    |- WeightsError           weights that are missing, altered, or do not fit
    |  `- MismatchError       features of one encoder handed to a scorer of another
    |- ClusterError           machines that cannot be reached, or cannot do the work
    |- ModelError             a language model that failed, or a server that is away or answers nonsense
    `- OutputError            a result that cannot be written
       `- StorageError        a library's storage that is away, or hands out or takes in a part of a file only

The command line prints the message and exits with 1; anything else is a bug and keeps its traceback.
"""


class VladError(Exception):
    """Base of the tree above; the message is one line and names the way out."""


class InputError(VladError):
    """A file, folder or text handed in by a person is not usable."""


class VideoError(InputError):
    """A clip cannot be opened or holds no picture."""


class LimitError(InputError):
    """A clip exceeds a limit of Settings."""


class MissingError(InputError):
    """There is nothing of that id."""


class RightsError(InputError):
    """It is somebody else's, and only theirs to change."""


class ConflictError(InputError):
    """It does not fit what is there by now: somebody changed it meanwhile, or it is under way already."""


class TemplateError(InputError):
    """A prompt template does not parse or misses a value."""


class SettingsError(VladError):
    """A setting has a wrong name, type or range."""


class WeightsError(VladError):
    """Weights are missing, altered, or do not fit."""


class MismatchError(WeightsError):
    """Features of one encoder were handed to a scorer of another."""


class ClusterError(VladError):
    """Machines of a cluster cannot be reached, or cannot do the work."""


class ModelError(VladError):
    """A language model failed, or its server is away or answers nonsense."""


class OutputError(VladError):
    """A result cannot be written."""


class StorageError(OutputError):
    """A library's storage is away, or hands out or takes in a part of a file only."""
