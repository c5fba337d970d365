"use strict";
{% include "sort.js" %}

{% include "tabs.js" %}

{% include "samples.js" %}

