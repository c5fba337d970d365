"""For tests, yours and ours: float64 oracles written from the equations, and tiny attention models.

``oracle`` computes every equation in NumPy, one sample and one head at a time, by a route that shares no code with
``rollingq.functional``. ``models`` and ``forms`` build attention of every form that RollingQ enters around one
signature, so that a test can say "every form" in one line. ``expected`` answers for such a model from its weights.
"""
