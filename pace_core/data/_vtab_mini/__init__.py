"""The tasks of vtab-mini, one file a task.

A task module defines
    TITLE         what a table prints above its column
    CLASS_NAMES   the classes in the order of their labels
    VERSION       raised whenever its pictures change, so that results of other pictures are not averaged with these
    draw(label, split, rng) -> float64 [64, 64, 3] in 0..1, one picture of that class
and says in its docstring what it asks of a network. Shared drawing stands in underscored modules.
"""
