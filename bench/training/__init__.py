"""How a model is fitted: stage by stage, resumed after a kill, its weights kept with a checksum."""
